"""Changes and their JSON."""

from __future__ import annotations

from typing import get_args

import attrs
import orjson
import pytest
from hypothesis import Phase, given, settings

from tests import strategies
from twistpi.model.changes import Change, Entry, LinksChanged
from twistpi.model.codec import decode_change, decode_content, encode_change, encode_content
from twistpi.model.records import Link, PageHeader
from twistpi.model.server_errors import MalformedChange


@given(strategies.entries())
def test_an_entry_reads_as_it_was_written(entry: Entry) -> None:
    body = encode_content(entry.at, entry.by, entry.changes)
    assert decode_content(body, entry.serial) == entry


@given(strategies.entries())
def test_the_json_is_one_line_without_zero_bytes_compact_and_sorted(entry: Entry) -> None:
    body = encode_content(entry.at, entry.by, entry.changes)
    assert b"\n" not in body
    assert b"\0" not in body
    assert orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS) == body


class _AllDrawn(Exception):
    pass


def test_every_kind_is_among_the_changes_that_tests_draw() -> None:
    drawn = set()

    # How many examples it takes depends on the modules that are imported: Hypothesis draws constants of theirs.
    @given(strategies.changes())
    @settings(max_examples=10_000, phases=[Phase.generate], derandomize=True, database=None)
    def draw(change: Change) -> None:
        drawn.add(type(change))
        if drawn == set(get_args(Change)):
            raise _AllDrawn

    with pytest.raises(_AllDrawn):
        draw()


def test_fields_with_their_default_are_left_out() -> None:
    assert encode_change(LinksChanged("root/pypi", "demo")) == {"kind": "LinksChanged", "index": "root/pypi", "project": "demo"}
    link = Link("demo-1.tar.gz", "https://files.upstream.example/demo-1.tar.gz")
    encoded = encode_change(LinksChanged("root/pypi", "demo", added=(link,), header=PageHeader()))
    assert encoded["header"] == {}
    assert list(encoded["added"]) == [{"filename": link.filename, "url": link.url}]


@pytest.mark.parametrize("fields", [{}, {"kind": "Teleported"}, {"kind": None}, {"kind": ["FileCached"]}, {"kind": "Link"}])
def test_an_unknown_kind_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedChange, match="upgrade twistpi"):
        decode_change(fields)


@given(strategies.changes())
def test_an_unknown_field_is_refused(change: Change) -> None:
    with pytest.raises(MalformedChange, match=f"kind '{type(change).__name__}'"):
        decode_change({**encode_change(change), "colour": "red"})


@given(strategies.changes())
def test_a_missing_field_is_refused(change: Change) -> None:
    fields = encode_change(change)
    for field in attrs.fields(type(change)):
        if field.default is attrs.NOTHING:
            with pytest.raises(MalformedChange):
                decode_change({name: value for name, value in fields.items() if name != field.name})


@pytest.mark.parametrize("added", [5, [5], [{}], [{"filename": "a"}], [{"filename": "a", "url": "b", "colour": "red"}]])
def test_a_malformed_link_is_refused(added: object) -> None:
    with pytest.raises(MalformedChange):
        decode_change({"kind": "LinksChanged", "index": "root/pypi", "project": "demo", "added": added})


@pytest.mark.parametrize("removed", [5, None, "demo-1.tar.gz", {"demo-1.tar.gz": 1}])
def test_names_that_are_no_list_are_refused(removed: object) -> None:
    with pytest.raises(MalformedChange):
        decode_change({"kind": "LinksChanged", "index": "root/pypi", "project": "demo", "removed": removed})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"{}", b'{"at":"x","by":"y"}', b'{"at":"x","by":"y","changes":[5]}'])
def test_what_is_no_content_of_a_line_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedChange):
        decode_content(body)
