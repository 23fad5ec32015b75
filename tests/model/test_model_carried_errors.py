"""Errors that travel between servers arrive as what they were, and nothing else is made of what travels."""

from __future__ import annotations

import orjson
import pytest

from twistpi.model.errors import (
    FileLost,
    NoMetadata,
    TwistpiError,
    UnknownProject,
    UpstreamFailed,
    UpstreamUnreachable,
    WrongBytes,
    fields_of,
)
from twistpi.model.server_errors import NodeRefused, carried
from twistpi.web.replication.authentication import refusal_reply


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
