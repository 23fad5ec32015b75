"""Which files of mirrors an index offers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.errors import BadRequest
from twistpi.model.records import Index, KnownFile, KnownProject, Link
from twistpi.rules.advisories import SETTINGS, Advise, no_advisories
from twistpi.rules.file_policy import NEVER, Refusal, duration, policy_of
from twistpi.rules.index_config import normalised
from twistpi.rules.inheritance import inheritance_of
from twistpi.rules.offered_files import apply_policies, policies_for, refusal_of
from twistpi.rules.osv import Advisory, Range
from twistpi.rules.policy_keys import age, age_text
from twistpi.rules.requirements import Requirement, split_requirements

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
OLD, YOUNG = "2026-11-01T00:00:00.000000Z", "2026-11-29T12:00:00.000000Z"
DAY = 86400.0


def mirror(**config: Any) -> Index:
    """A mirror whose policy was set as a client sends it."""
    return Index("root/pypi", {"type": "mirror", **normalised("mirror", config, lambda _base: True)})


def file(filename: str, uploaded: str | None = OLD, size: int | None = 10) -> KnownFile:
    return KnownFile(Link(filename, f"https://files.example/{filename}", size=size, upload_time=uploaded), f"+f/{filename}")


def refusal(
    filename: str, project: str = "hello", *, uploaded: str | None = OLD, advise: Advise = no_advisories, **config: Any
) -> Refusal | None:
    """Why a mirror with these settings does not offer a file."""
    return refusal_of(project, file(filename, uploaded), policies_for(mirror(**config), [mirror(**config)]), NOW, advise)


def rule(filename: str, project: str = "hello", **config: Any) -> str | None:
    found = refusal(filename, project, **config)
    return None if found is None else found.rule


def test_an_index_without_such_settings_refuses_nothing_that_no_advisory_is_about() -> None:
    policy = policy_of(mirror(mirror_url="https://upstream.example/simple/"))
    assert policy is not None
    assert policy.about("hello").is_silent
    assert not policy.about("hello", [MALWARE]).is_silent
    assert policy_of(Index("ann/dev", {"type": "stage"})) is None


def test_a_file_is_held_back_until_it_is_old_enough() -> None:
    found = refusal("hello-1.0.tar.gz", uploaded=YOUNG, min_release_age="7d")
    assert found is not None
    assert (found.rule, found.since, found.until) == ("min_release_age", YOUNG, NOW + 6 * DAY)
    assert found.sentence("hello-1.0.tar.gz") == (
        "hello-1.0.tar.gz is not offered, by the rule min_release_age of root/pypi: it was uploaded less than 7 days ago. "
        "Since 2026-11-29T12:00:00.000000Z. Until 2026-12-06 12:00:00 UTC. Take an older version until then; "
        "who administers root/pypi can exempt it: min_release_age_exempt+=hello"
    )


@pytest.mark.parametrize(("uploaded", "held"), [(OLD, False), (YOUNG, True), (None, True), ("2027-01-01T00:00:00Z", True)])
def test_old_files_are_offered_and_those_of_unknown_or_future_age_are_not(uploaded: str | None, held: bool) -> None:
    assert (rule("hello-1.0.tar.gz", uploaded=uploaded, min_release_age="7d") == "min_release_age") is held


@given(st.integers(1, 10**8), st.floats(0, 10**8))
def test_a_file_becomes_visible_at_the_second_its_refusal_names(age: int, waited: float) -> None:
    policies = policies_for(mirror(min_release_age=age), [mirror(min_release_age=age)])
    at = NOW + waited
    found = refusal_of("hello", file("hello-1.0.tar.gz", "2026-11-30T12:00:00.000000Z"), policies, at)
    assert (found is None) == (at >= NOW + age)
    assert found is None or refusal_of("hello", file("hello-1.0.tar.gz", found.since), policies, found.until) is None


@pytest.mark.parametrize(
    ("exempt", "held"),
    [("hello", False), ("Hel_lo", True), ("hello==1.0", False), ("hello==1.00", False), ("hello==2.0", True), ("hel*", False)],
)
def test_names_and_versions_can_be_exempt_from_the_age(exempt: str, held: bool) -> None:
    found = rule("hello-1.0.tar.gz", uploaded=YOUNG, min_release_age="7d", min_release_age_exempt=exempt)
    assert found == ("min_release_age" if held else None)


BUILT = ("zip", "tar.bz2", "tbz", "tar", "tar.xz", "txz", "tlz", "tar.lz", "tar.lzma", "tar.zst", "linux-x86_64.tar.gz")
"""Further endings of archives that pip or uv builds."""


@pytest.mark.parametrize(
    ("config", "filename", "expected"),
    [
        ({"deny": "hello"}, "hello-1.0.tar.gz", "deny"),
        ({"deny": "hello<1"}, "hello-1.0.tar.gz", None),
        ({"deny": "hello>=1,<2"}, "hello-1.5-py3-none-any.whl", "deny"),
        ({"deny": "hello>=1,<2"}, "hello-2.0-py3-none-any.whl", None),
        ({"deny": "other"}, "hello-1.0.tar.gz", None),
        ({"deny": "hello>=1"}, "hello-2.0rc1.tar.gz", "deny"),
        ({"allow": "hello<2"}, "hello-1.0.tar.gz", None),
        ({"allow": "hello<2"}, "hello-2.0.tar.gz", "allow"),
        ({"allow": ["a", "b"]}, "hello-2.0.tar.gz", "allow"),
        ({"deny_sdists": True}, "hello-1.0.tar.gz", "deny_sdists"),
        *(({"deny_sdists": True}, f"hello-1.0.{ending}", "deny_sdists") for ending in BUILT),
        ({"deny_sdists": "no"}, "hello-1.0.tar.gz", None),
        ({"deny_sdists": True}, "hello-1.0-py3-none-any.whl", None),
        ({"deny_prereleases": True}, "hello-1.0rc1-py3-none-any.whl", "deny_prereleases"),
        ({"deny_prereleases": True}, "hello-1.0-py3-none-any.whl", None),
        ({"max_file_size": "5"}, "hello-1.0.tar.gz", "max_file_size"),
        ({"max_file_size": "1K"}, "hello-1.0.tar.gz", None),
        ({"allow_platforms": "manylinux,linux"}, "hello-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", None),
        ({"allow_platforms": "manylinux,linux"}, "hello-1.0-cp312-cp312-win_amd64.whl", "allow_platforms"),
        ({"allow_platforms": "manylinux,linux"}, "hello-1.0-py3-none-any.whl", None),
        ({"allow_platforms": "manylinux"}, "hello-1.0.tar.gz", None),
        ({"allow_python_tags": "py3,cp312"}, "hello-1.0-py2.py3-none-any.whl", None),
        ({"allow_python_tags": "py3,cp312"}, "hello-1.0-1-cp311-cp311-win_amd64.whl", "allow_python_tags"),
        ({"quarantined": "hello==1.0 looks odd"}, "hello-1.0.tar.gz", "quarantined"),
        ({"quarantined": "hello==1.0 looks odd"}, "hello-1.1.tar.gz", None),
        ({"quarantined": "hello==1.0 looks odd"}, "hello-1.0.tlz", "quarantined"),
        ({"quarantined": "hello===2004d"}, "hello-2004d.tar.gz", "quarantined"),
        ({"quarantined": "hello===2004d"}, "hello-2004e.tar.gz", None),
        ({"deny": "hello>=1"}, "hello-2004d.tar.gz", None),
    ],
)
def test_each_rule_refuses_what_it_names(config: dict[str, Any], filename: str, expected: str | None) -> None:
    assert rule(filename, **config) == expected


def test_a_shell_takes_the_command_that_releases_for_what_it_is() -> None:
    found = refusal("hello-1.0.tar.gz", quarantined="hello>=1 looks odd")
    assert found is not None
    assert found.remedy.endswith("twistpi release root/pypi 'hello>=1'")


MALWARE = Advisory("hello", "MAL-2026-1", summary="steals keys.", versions=("1.0",), published="2026-11-20T00:00:00Z")
HIGH = Advisory("hello", "GHSA-xxxx", summary="reads any file", severity="high", ranges=(Range("1", "1.2"),))
LOW = Advisory("hello", "GHSA-yyyy", severity="low", ranges=(Range("0"),))


@pytest.mark.parametrize(
    ("setting", "known", "refused"),
    [
        ({"min_release_age": 0}, MALWARE, True),
        ({}, MALWARE, True),
        ({}, HIGH, False),
        ({"advisories": "block-malware"}, MALWARE, True),
        ({"advisories": "block-malware"}, HIGH, False),
        ({"advisories": "off"}, MALWARE, False),
        ({"advisories": "block-severity=high"}, HIGH, True),
        ({"advisories": "block-severity=critical"}, HIGH, False),
        ({"advisories": "block-severity=critical"}, MALWARE, True),
        ({"advisories": "block-severity=low"}, LOW, True),
    ],
)
def test_advisories_refuse_what_they_are_told_to(setting: dict[str, Any], known: Advisory, refused: bool) -> None:
    found = refusal("hello-1.0.tar.gz", advise=about_hello(known), **setting)
    assert (found is not None) is refused
    assert found is None or (found.rule == "advisories" and known.id in found.reason and found.is_enforced)
    assert refusal("hello-0.5.tar.gz", advise=about_hello(MALWARE, HIGH), **setting) is None


def about_hello(*known: Advisory) -> Advise:
    return lambda project: known if project == "hello" else ()


def test_the_gravest_advisory_is_told_with_the_version_that_is_right() -> None:
    found = refusal("hello-1.0.tar.gz", advise=about_hello(LOW, HIGH, MALWARE), advisories="block-severity=low")
    assert found is not None
    assert found.sentence("hello-1.0.tar.gz") == (
        "hello-1.0.tar.gz is not offered, by the rule advisories of root/pypi: hello 1.0 is malware, MAL-2026-1: steals keys. "
        "Since 2026-11-20T00:00:00Z. Remove it from your requirements."
    )
    found = refusal("hello-1.0.tar.gz", advise=about_hello(LOW, HIGH), advisories="block-severity=low")
    assert found is not None
    assert (found.reason, found.remedy) == (
        "hello 1.0 has a vulnerability (high), GHSA-xxxx: reads any file",
        "Take 1.2 or later.",
    )


def test_reported_advisories_are_told_and_do_not_hide_what_is_refused() -> None:
    found = refusal("hello-1.0.tar.gz", advise=about_hello(LOW), advisories="report")
    assert found is not None
    assert (found.rule, found.is_enforced) == ("advisories", False)
    young: dict[str, Any] = {"uploaded": YOUNG, "min_release_age": "7d", "advise": about_hello(MALWARE)}
    assert rule("hello-1.0.tar.gz", advisories="report", **young) == "min_release_age"
    assert rule("hello-1.0.tar.gz", advisories="report", policy_mode="report", **young) == "advisories"


def test_advisories_are_about_mirrors_and_not_about_what_was_uploaded() -> None:
    dev, pypi = Index("ann/dev", {"type": "stage", "advisories": "block-severity=low"}), mirror(advisories="off")
    for owner, expected in ((dev, None), (pypi, "ann/dev")):
        policies = policies_for(owner, [dev, pypi])
        found = refusal_of("hello", file("hello-1.0.tar.gz"), policies, NOW, about_hello(MALWARE))
        assert (None if found is None else found.index) == expected


@pytest.mark.parametrize("value", [*SETTINGS, " Block-Severity = HIGH "])
def test_the_setting_of_advisories_may_be_written_in_any_case(value: str) -> None:
    assert mirror(advisories=value).config["advisories"] in SETTINGS


def project(*files: KnownFile, versions: tuple[str, ...] = ()) -> KnownProject:
    return KnownProject("root/pypi", "hello", files, versions)


def test_the_newest_version_that_is_allowed_is_what_remains() -> None:
    young, old = file("hello-2.0.tar.gz", YOUNG), file("hello-1.0.tar.gz", OLD)
    policies = policies_for(mirror(min_release_age="7d"), [mirror(min_release_age="7d")])
    judged = apply_policies(project(young, old, versions=("1.0", "2.0", "0.9")), policies, NOW)
    assert (judged.known.files, judged.known.versions, judged.until) == ((old,), ("1.0", "0.9"), NOW + 6 * DAY)
    assert [one for one, _refusal in judged.refused] == [young]


def test_a_policy_that_only_reports_refuses_nothing_and_says_what_it_would() -> None:
    one = mirror(min_release_age="7d", policy_mode="report")
    judged = apply_policies(project(file("hello-2.0.tar.gz", YOUNG)), policies_for(one, [one]), NOW)
    assert len(judged.known.files) == len(judged.refused) == 1
    assert judged.until == NEVER


def test_an_index_is_as_strict_as_all_that_it_inherits_and_no_policy_is_about_other_mirrors() -> None:
    strict = Index("ann/strict", {"type": "stage", "bases": ["root/pypi"], "deny": ["hello"]})
    dev = Index("ann/dev", {"type": "stage", "bases": ["ann/strict", "root/other"]})
    pypi, other = mirror(min_release_age="1d"), Index("root/other", {"type": "mirror", "allow": ["a"]})
    indexes = {index.name: index for index in (strict, dev, pypi, other)}
    inheritance = inheritance_of(dev, indexes.get)
    found = {name: [policy.index for policy in policies] for name, policies in inheritance.policies.items()}
    assert found == {"root/pypi": ["ann/strict", "root/pypi"], "root/other": ["ann/strict", "root/other"]}
    assert inheritance.lets_in(pypi, "hello")
    assert not inheritance.lets_in(other, "hello")


@pytest.mark.parametrize(("text", "stored"), [("7d", 604800), ("36h", 129600), (90, 90), (" 2w ", 1209600), ("0", 0)])
def test_an_age_may_be_written_in_units(text: Any, stored: int) -> None:
    assert mirror(min_release_age=text).config["min_release_age"] == stored


@pytest.mark.parametrize(
    "config",
    [
        {"min_release_age": "soon"},
        {"min_release_age": "-1"},
        {"min_release_age": True},
        {"min_release_age": "11y"},
        {"allow": "=="},
        {"deny": "a=1"},
        {"deny": 3},
        {"quarantined": "*"},
        {"quarantined": "hello == 1.0 looks odd"},
        {"allow_platforms": "linux/x"},
        {"policy_mode": "off"},
        {"advisories": "block-severity=grave"},
        {"advisories": True},
        {"max_file_size": "big"},
    ],
)
def test_other_values_are_refused_by_name(config: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=next(iter(config))):
        mirror(**config)


def test_a_list_may_come_as_lines_with_comments() -> None:
    assert split_requirements("a>=1,<2,b\n# none of these\nc == 1.0 # pinned\n\nd") == ["a>=1,<2", "b", "c == 1.0", "d"]


@given(st.sampled_from(["a", "a-b", "a*"]), st.sampled_from(["", "==1.0", ">=1,<2", "!=3", "===odd"]))
def test_a_requirement_is_what_its_text_says(name: str, versions: str) -> None:
    requirement = Requirement.parse(name + versions)
    assert Requirement.parse(str(requirement)) == requirement


@given(st.integers(0, 10 * 365 * 86400))
def test_an_age_is_what_its_text_says(seconds: int) -> None:
    assert age("min_release_age", age_text(seconds)) == seconds


@pytest.mark.parametrize(("seconds", "words"), [(604800, "7 days"), (86400, "1 day"), (5400, "90 minutes"), (61, "61 seconds")])
def test_durations_are_told_in_whole_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
