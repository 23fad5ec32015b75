"""The figures of ``bench.structure`` count what they say."""

from __future__ import annotations

import ast
from pathlib import Path

from bench.structure import Module, any_in_annotations, error_classes, private_uses_of_twisted, suppressions


def _module(text: str) -> Module:
    return Module(Path("made_up.py"), text, ast.parse(text))


def test_error_classes_derive_from_an_exception_also_through_each_other() -> None:
    first = _module("class Wrong(Exception): ...\nclass Right: ...\n")
    second = _module("class VeryWrong(Wrong): ...\nclass Usage(click.ClickException): ...\n")
    assert error_classes([second, first]) == {"Wrong", "VeryWrong", "Usage"}


def test_any_counts_in_annotations_only() -> None:
    assert any_in_annotations(_module("def f(a: Any, b: dict[str, Any]) -> typing.Any:\n    c: Any = cast(Any, a)\n")) == 4


def test_suppressions_are_comments() -> None:
    text = "a = 1  # type: ignore[assignment]\nb = '# type: ignore'\nc = 2  # fmt: skip\n"
    assert suppressions(_module(text)) == {"type: ignore": 1, "fmt: skip": 1}


def test_private_names_of_twisted_count_unless_they_are_the_packages_own() -> None:
    text = "from twisted.web._newclient import Request\nfrom twisted.web import http\nself._own._clock = channel._transport\n"
    assert private_uses_of_twisted(_module(text), {"_own", "_clock", "_transport"}, {"_own"}) == 3
