"""The names in a long list that allow lists name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.mirror.allowed_names import allowed_names
from twistpi.rules.requirements import RequirementList

NAMES = st.text("ab-", min_size=1, max_size=5).map(lambda text: text.strip("-")).filter(bool)


def test_names_and_beginnings_are_found_in_order(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{name}\n" for name in ("acme", "acme-a", "acme-b", "acmee", "django", "zlib")))
    first = RequirementList.parse(["zlib", "acme-*", "acme-b>2", "missing", "acme"])
    assert [*allowed_names(str(path), [first])] == ["acme", "acme-a", "acme-b", "zlib"]
    assert [*allowed_names(str(path), [first, RequirementList.parse(["acme*"])])] == ["acme", "acme-a", "acme-b"]
    path.write_text("")
    assert [*allowed_names(str(path), [first])] == []


@given(st.sets(NAMES, max_size=30), st.sets(NAMES, min_size=1, max_size=6), st.sets(NAMES, max_size=3))
def test_it_is_what_a_look_at_each_name_finds(
    tmp_path_factory: pytest.TempPathFactory, listed: set[str], names: set[str], prefixes: set[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "names.txt"
    path.write_text("".join(f"{name}\n" for name in sorted(listed)))
    allow = RequirementList.parse([*names, *(f"{prefix}*" for prefix in prefixes)])
    assert [*allowed_names(str(path), [allow])] == [name for name in sorted(listed) if any(allow.naming(name))]
