"""Errors say their sentence."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator

import attrs
import orjson
import pytest

from twistpi import model
from twistpi.model import errors
from twistpi.model.errors import (
    FileLost,
    NoMetadata,
    TwistpiError,
    UnknownProject,
    UpstreamFailed,
    UpstreamUnreachable,
    WrongBytes,
    field_names,
    fields_of,
)
from twistpi.model.server_errors import NodeRefused, carried
from twistpi.web.replication.authentication import refusal_reply

for found in pkgutil.iter_modules(model.__path__, "twistpi.model."):
    importlib.import_module(found.name)  # whatever other tests load, every sentence is looked at

_NUMBERS = {"int": 1234567, "float": 2.5}


def kinds(base: type[TwistpiError] = TwistpiError) -> Iterator[type[TwistpiError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def is_real(kind: type[TwistpiError]) -> bool:
    """Whether ``kind`` is not what attrs made the real class of, which lives on until garbage is collected."""
    return getattr(sys.modules[kind.__module__], kind.__name__, None) is kind


EVERY_KIND = sorted(filter(is_real, kinds()), key=lambda kind: kind.__name__)
WITH_FIELDS = [kind for kind in EVERY_KIND if field_names(kind)]


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if not attrs.has(kind)], ids=lambda kind: kind.__name__)
def test_an_error_without_fields_says_what_it_was_raised_with(kind: type[TwistpiError]) -> None:
    assert str(kind("{braces} are text")) == "{braces} are text"
    assert kind("gone").status == kind.status
    if kind.__init__ is TwistpiError.__init__:
        assert kind("gone", 410).status == 410


@pytest.mark.parametrize("kind", WITH_FIELDS, ids=lambda kind: kind.__name__)
def test_the_sentence_of_an_error_has_its_fields_filled_in(kind: type[TwistpiError]) -> None:
    make: Callable[..., TwistpiError] = kind
    types = {name: str(attrs.fields_dict(kind)[name].type) for name in field_names(kind)}  # type: ignore[arg-type]
    values = {name: _NUMBERS.get(written, f"<{name}>") for name, written in types.items()}
    sentence = str(make(**values))
    assert sentence
    assert "\n" not in sentence
    assert "{" not in sentence
    for name, value in values.items():
        if f"{{{name}" in (kind.__doc__ or "").split("\n\n")[0]:
            assert str(value) in sentence.replace(",", "")


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: kind.__name__)
def test_the_status_of_an_error_is_one_of_a_failure(kind: type[TwistpiError]) -> None:
    assert 400 <= kind.status <= 599
    assert "status" not in field_names(kind)


# Errors that travel between servers arrive as what they were, and nothing else is made of what travel ----------------


@pytest.mark.parametrize(
    "error",
    [
        UnknownProject("root/up", "hello"),
        UpstreamFailed("root/up", "hello", "it answered 500"),
        UpstreamUnreachable("root/up", "hello", "no answer"),
        WrongBytes("hello.zip", "https://files.example/hello.zip", "there are 3, not 4"),
        NoMetadata("root/up", "+f/…/ümläut.zip", "none"),
        FileLost("root/up", "+f/…"),
    ],
)
def test_an_error_arrives_as_it_was(error: TwistpiError) -> None:
    arrived = carried(orjson.loads(refusal_reply(error).body))
    assert arrived is not None
    assert (type(arrived), fields_of(arrived), str(arrived)) == (type(error), fields_of(error), str(error))


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"error": "UnknownProject"},
        {"error": "UnknownProject", "fields": []},
        {"error": "UnknownProject", "fields": {"index": "root/up"}},
        {"error": "UnknownProject", "fields": {"index": "root/up", "project": 5}},
        {"error": "UnknownProject", "fields": {"index": "root/up", "project": "hello", "more": "x"}},
        {"error": "SystemExit", "fields": {}},
        orjson.loads(refusal_reply(NodeRefused("expired")).body),
    ],
)
def test_what_is_no_error_of_that_kind_is_none(told: object) -> None:
    assert carried(told) is None


def test_an_older_server_has_a_class_for_files_in_quarantine() -> None:
    fields = {"index": "root/up", "project": "hello", "path": "+f/x"}
    arrived = carried({"error": "FileBlocked", "fields": fields, "message": "It is quarantined."})
    assert arrived is not None
    assert (str(arrived), arrived.status) == ("It is quarantined.", 404)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.answer_lost("the primary", "timeout"), 503),
        (errors.file_exists("demo-1.0.zip"), 409),
        (errors.file_gone("alice/dev", "+f/x"), 410),
        (errors.invalid_filename("x", "it is empty"), 400),
        (errors.no_project("demo"), 404),
        (errors.project_not_in_filename("x.zip", "demo"), 400),
        (errors.unknown_user("alice"), 404),
        (errors.unknown_version("demo", "1.0"), 404),
    ],
)
def test_errors_that_several_places_raise_have_one_status(error: TwistpiError, status: int) -> None:
    assert error.status == status
