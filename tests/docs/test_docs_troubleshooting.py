"""The messages that the page on troubleshooting quotes are those of the program."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fakes.live_server import ROOT

OF_OTHERS = ("No matching distribution found", "from versions: none", "An error has occurred: b'twistpi…")
"""Messages of pip and of twistd."""
PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text(encoding="utf-8")
QUOTES = [quote for line in re.findall(r"^``.*", PAGE, re.MULTILINE) for quote in re.findall(r"``([^`]* [^`]*)``", line)]


def texts_of(source: str) -> list[str]:
    """The texts in a module, each on one line."""
    found = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [" ".join(text.split()) for text in found]


@pytest.fixture(scope="module")
def texts() -> str:
    return "\n".join("\n".join(texts_of(path.read_text(encoding="utf-8"))) for path in (ROOT / "twistpi").rglob("*.py"))


@pytest.mark.parametrize("quote", [quote for quote in QUOTES if quote not in OF_OTHERS])
def test_a_quoted_message_is_one_of_the_program(texts: str, quote: str) -> None:
    pieces = [piece.strip() for piece in re.split(r"…|: ", quote) if " " in piece.strip()]
    assert [piece for piece in pieces if piece not in texts] == []


def test_every_message_of_others_is_on_the_page() -> None:
    assert set(OF_OTHERS) <= set(QUOTES)
