"""What OSV records say of Python packages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.rules.advisories import SEVERITIES
from twistpi.rules.osv import Advisory, NotARecord, Range, read_record


def record(*affected: Any, **more: Any) -> dict[str, Any]:
    return {"id": "GHSA-aaaa-bbbb-cccc", "modified": "2026-11-29T00:00:00Z", "affected": list(affected), **more}


def package(name: str = "Hello_World", *events: dict[str, str], ecosystem: str = "PyPI", **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    return {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, **more}


def only(value: Any) -> Advisory:
    (found,) = read_record(value)
    return found


FROM_START: dict[str, str] = {"introduced": "0"}


def test_a_record_is_read() -> None:
    found = only(
        record(
            package("Hello_World", FROM_START, {"fixed": "1.2"}, versions=["1.0", "1.1"]),
            summary="Reads\nany file",
            aliases=["CVE-2026-1", "PYSEC-2026-2"],
            published="2026-11-01T00:00:00Z",
            database_specific={"severity": "MODERATE"},
        )
    )
    assert found == Advisory(
        "hello-world",
        "GHSA-aaaa-bbbb-cccc",
        ("CVE-2026-1", "PYSEC-2026-2"),
        "Reads any file",
        "medium",
        "2026-11-01T00:00:00Z",
        "2026-11-29T00:00:00Z",
        ("1.0", "1.1"),
        (Range("0", "1.2"),),
    )


@pytest.mark.parametrize(
    ("events", "affected", "unaffected"),
    [
        ([FROM_START], ["0.1", "1.0", "9", "odd"], []),
        ([FROM_START, {"fixed": "1.2"}], ["0.0.1", "1.1.99", "1.2rc1"], ["1.2", "1.2.0", "2", "odd"]),
        ([{"introduced": "1.0"}, {"last_affected": "1.4"}], ["1.0", "1.4.0"], ["0.9", "1.4.1"]),
        ([{"fixed": "1.2"}, FROM_START, {"introduced": "2.0"}, {"fixed": "2.1"}], ["1.1", "2.0.5"], ["1.2", "1.9", "2.1"]),
        ([{"introduced": "1.2"}, {"introduced": "1.0"}, {"fixed": "1.5"}], ["1.0", "1.3"], ["0.9", "1.5"]),
    ],
)
def test_ranges_lie_between_events_in_any_order(events: list[dict[str, str]], affected: list[str], unaffected: list[str]) -> None:
    found = only(record(package("hello", *events)))
    assert [version for version in affected if not found.affects(version)] == []
    assert [version for version in unaffected if found.affects(version)] == []


def test_versions_that_are_named_are_affected_in_any_spelling() -> None:
    found = only(record(package("hello", versions=["1.0", "2.0-1", "odd"])))
    assert all(map(found.affects, ["1.0", "1.0.0", "1", "2.0_1", "2.0.post1", "odd"]))
    assert not found.affects("1.1")


def test_a_local_build_of_an_affected_version_is_affected() -> None:
    named = only(record(package("hello", versions=["1.0"])))
    assert named.affects("1.0+cu124")
    assert not named.affects("1.1+cu124")
    up_to = only(record(package("hello", {"introduced": "1.0"}, {"last_affected": "1.4"})))
    assert [up_to.affects(version) for version in ("1.0+cu124", "1.4+cu124", "1.4.1+cu124")] == [True, True, False]
    fixed = only(record(package("hello", FROM_START, {"fixed": "1.0+safe.1"})))
    assert fixed.affects("1.0")
    assert not fixed.affects("1.0+safe.1")


def test_only_versions_of_installers_count() -> None:
    found = only(record({**package("hello"), "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}))
    assert not found.affects("1.0")


def test_a_withdrawn_record_and_one_of_other_ecosystems_say_nothing() -> None:
    assert list(read_record(record(package("hello", FROM_START), withdrawn="2026-11-29T00:00:00Z"))) == []
    assert list(read_record(record(package("hello", FROM_START, ecosystem="npm")))) == []


def test_several_packages_of_one_record_are_told_apart_and_parts_of_one_are_joined() -> None:
    found = list(read_record(record(package("a", FROM_START, {"fixed": "1"}), package("b"), package("A", {"introduced": "2"}))))
    assert [one.project for one in found] == ["a", "b"]
    assert [found[0].affects(version) for version in ("0.5", "1.5", "2.5")] == [True, False, True]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ""),
        ({"database_specific": {"severity": "HIGH"}}, "high"),
        ({"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}, "critical"),
        ({"severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:L/AC:H/AT:P/PR:H/UI:A/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N"}]}, "low"),
        ({"severity": [{"type": "CVSS_V3", "score": "nonsense"}, {"type": "other", "score": "9"}]}, ""),
        ({"severity": "high", "database_specific": []}, ""),
    ],
)
def test_severity_is_told_in_words_or_as_a_vector(more: dict[str, Any], expected: str) -> None:
    assert only(record(package("hello", FROM_START), **more)).severity == expected


@pytest.mark.parametrize("names", [{"id": "MAL-2026-1"}, {"aliases": ["MAL-2026-1"]}])
def test_malware_is_known_by_its_id(names: dict[str, Any]) -> None:
    assert only(record(package("hello", FROM_START), **names)).is_malware


def test_a_finding_names_the_next_version_without_it() -> None:
    found = only(record(package("hello", FROM_START, {"fixed": "1.2"}, {"introduced": "2.0"}, {"fixed": "2.3"})))
    assert (found.finding("1.0").fixed, found.finding("2.1").fixed, found.finding("3.0").fixed) == ("1.2", "2.3", None)


@pytest.mark.parametrize("value", [None, [], "text", {}, {"id": 3}, {"id": ""}])
def test_what_is_no_record_is_refused(value: Any) -> None:
    with pytest.raises(NotARecord):
        list(read_record(value))


KEYS = (
    "id affected package ecosystem name ranges events type introduced fixed severity score versions withdrawn database_specific"
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["PyPI", "ECOSYSTEM", "0", "1.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=5),
    max_leaves=20,
)


@given(ANYTHING)
def test_hostile_json_is_refused_or_read_as_far_as_it_makes_sense(value: Any) -> None:
    try:
        found = list(read_record({"id": "X-1", **value} if isinstance(value, dict) else value))
    except NotARecord:
        return
    assert all(one.severity in ("", *SEVERITIES) for one in found)
    assert not any(one.affects("1.0") for one in found if not one.versions and not one.ranges)
