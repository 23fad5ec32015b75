"""A JSON document is read value by value as it is read in one go."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.errors import BadRequest
from twistpi.transfer.json_stream import ITEM, stream_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def walk(value: Any, depth: int, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if len(path) == depth:
        return [(path, value)]
    if isinstance(value, dict):
        return [found for key, one in value.items() for found in walk(one, depth, (*path, key))]
    return [found for one in value for found in walk(one, depth, (*path, ITEM))] if isinstance(value, list) else []


@given(VALUES, st.integers(0, 3))
def test_the_values_at_a_depth_are_those_of_the_document(value: Any, depth: int) -> None:
    file = io.BytesIO(json.dumps(value).encode())
    assert list(stream_json(file, lambda path: len(path) == depth)) == walk(value, depth)


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": tru', b"[1,]", b"\xff", b'{"a": "\xff"}'])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequest, match="no JSON"):
        list(stream_json(io.BytesIO(content), lambda path: False))
