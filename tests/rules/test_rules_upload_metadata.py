from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.release_setup import DEV
from tests.rules.test_rules_accounts import result_or_refusal
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.names import check_filename, normalize_project
from twistpi.model.releases import LIST_FIELDS, TEXT_FIELDS, Release, ReleaseDescribed
from twistpi.rules.upload_checks import (
    COMMENT,
    check_digests,
    described,
    every_field,
    merge_metadata,
    read_metadata,
    requires_python,
    shown_metadata,
)

NAMED = {"name": ["Demo"], "version": ["1.0"]}
FOUND = {"name": "demo", "version": "1.00", "metadata_version": "2.4"}
CHARACTERS = "Invalid package name. Names must contain only ASCII letters, digits, underscores, hyphens, and periods"


CONTENT = b"content"
DIGESTS = {
    "md5_digest": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    "sha256_digest": hashlib.sha256(CONTENT).hexdigest(),
    "blake2_256_digest": hashlib.blake2b(CONTENT, digest_size=32).hexdigest(),
}
DIGESTS_OF_FORM = {field: [digest] for field, digest in DIGESTS.items()}


def refusal(form: dict[str, list[str]]) -> str:
    with pytest.raises(TwistpiError) as refused:
        read_metadata(form)
    assert refused.value.status == 400
    return str(refused.value)


# The form ----------------------------------------------------------------------------------------------------------


def test_what_a_form_gives_is_read_under_the_keys_of_the_protocol() -> None:
    form = {
        **NAMED, "summary": ["first", "second"], "classifiers": ["A :: B", "", "C"], "comment": ["built by hand"],
        ":action": ["file_upload"], "protocol_version": ["1"], "unknown": ["x"], "sha256_digest": ["0"],
    }  # fmt: skip
    assert read_metadata(form) == {
        "name": "Demo", "version": "1.0", "summary": "first", "classifiers": ["A :: B", "C"], "comment": "built by hand",
    }  # fmt: skip


def test_every_field_of_core_metadata_is_taken() -> None:
    texts = {key: [f"some {key}"] for key in (*TEXT_FIELDS, COMMENT)} | NAMED
    lists = {key: [f"one {key}", f"other {key}"] for key in LIST_FIELDS}
    assert read_metadata({**texts, **lists}) == {**{key: value[0] for key, value in texts.items()}, **lists}


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("platforms", "platform"),
        ("supported_platforms", "supported_platform"),
        ("provides_extra", "provides_extras"),
        ("license_files", "license_file"),
        ("import_name", "import_names"),
        ("import_namespace", "import_namespaces"),
        ("classifier", "classifiers"),
        ("project_url", "project_urls"),
    ],
)
def test_R76_spellings_of_all_tools_are_understood(spelling: str, key: str) -> None:
    assert read_metadata({**NAMED, spelling: ["a", "b"]})[key] == ["a", "b"]
    assert read_metadata({**NAMED, spelling: ["a"], key: ["b"]})[key] == ["b"]
    assert read_metadata({**NAMED, spelling: ["a"], key: [""]})[key] == ["a"]


@pytest.mark.parametrize("nothing", ["", "UNKNOWN"])
def test_R76_what_says_nothing_is_empty_but_given(nothing: str) -> None:
    told = read_metadata({**NAMED, "license": [nothing], "platform": [nothing], "home_page": [nothing]})
    assert (told["license"], told["platform"], told["home_page"]) == ("", [], "")
    assert "summary" not in told


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"version": ["1.0"]}, 'Missing required field "name"'),
        ({"name": ["UNKNOWN"], "version": ["1.0"]}, 'Missing required field "name"'),
        ({"name": [""], "version": [""]}, 'Missing required field "name"'),
        ({"name": ["demo"]}, 'Missing required field "version"'),
        ({"name": ["demo"], "version": [""]}, 'Missing required field "version"'),
        ({"name": ["de mo"], "version": ["1"]}, CHARACTERS),
        ({"name": ["démo"], "version": ["1"]}, CHARACTERS),
        ({"name": ["demo\n"], "version": ["1"]}, CHARACTERS),
        ({"name": ["de<mo"], "version": ["1"]}, CHARACTERS),
        ({"name": ["-demo"], "version": ["1"]}, "Invalid package name. Names must start with an ASCII letter or digit"),
        ({"name": ["demo."], "version": ["1"]}, "Invalid package name. Names must end with an ASCII letter or digit"),
        *(
            ({"name": ["demo"], "version": [version]}, "Invalid package name or version (URL safety)")
            for version in ["<1", "1>", "1%", "#1", '1"', "1/2", "..", ".", "1 0", "1\n", "1\\2", "+1", "1\x00", "1\u2028"]
        ),
        ({"name": ["demo"], "version": ["1" * 201]}, "Invalid package name or version (longer than 200 characters)"),
    ],
    ids=repr,
)
def test_a_name_and_a_version_must_be_given_and_harmless(form: dict[str, list[str]], reason: str) -> None:
    assert refusal(form) == f"invalid metadata: {reason}"


@pytest.mark.parametrize("version", ["1.0", "1.00", "1!2.0+local.1", "2004d", "1.0-SNAPSHOT", "v1", "1_0", "ünusual"])
def test_a_version_may_be_spelled_as_anybody_likes(version: str) -> None:
    assert read_metadata({"name": ["demo"], "version": [version]})["version"] == version


FORMS = st.dictionaries(
    st.sampled_from([*TEXT_FIELDS, *LIST_FIELDS, COMMENT, "platforms", "other"]), st.lists(st.text(max_size=8), max_size=3)
)


@given(form=FORMS)
def test_any_form_is_understood_or_refused(form: dict[str, list[str]]) -> None:
    told = result_or_refusal(lambda: read_metadata({"name": ["a"], "version": ["1"], **form}))
    if not isinstance(told, TwistpiError):
        normalize_project(told["name"])
        check_filename(f"x{told['version']}")
        assert set(told) <= {*TEXT_FIELDS, *LIST_FIELDS, COMMENT}


# The form and the file ---------------------------------------------------------------------------------------------


def test_R77_metadata_comes_from_the_archive_and_gaps_are_filled_from_the_form() -> None:
    form = {"name": "Demo", "version": "1.0", "summary": "form's", "comment": "form's", "metadata_version": "2.3", "license": ""}
    found = {**FOUND, "summary": "archive's", "license": "MIT"}
    merged = merge_metadata(form, found)
    assert {key: value for key, value in merged.items() if value} == {
        "name": "Demo", "version": "1.0", "summary": "archive's", "comment": "form's", "metadata_version": "2.4",
        "license": "MIT",
    }  # fmt: skip
    assert merged.keys() == every_field({}).keys(), "what neither has is empty: nothing of other files stays"
    assert merge_metadata(form, None) == form


def test_what_a_file_requires_is_what_it_says_itself() -> None:
    form = {"requires_python": ">=4"}
    assert requires_python(form, {**FOUND, "requires_python": ">=3.9"}) == ">=3.9"
    assert requires_python(form, FOUND) is None
    assert requires_python(form, None) == ">=4"
    assert requires_python({"requires_python": ""}, None) is None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("md5_digest", ["0" * 32]),
        ("sha256_digest", [DIGESTS["sha256_digest"], "abc"]),
        ("blake2_256_digest", [DIGESTS["sha256_digest"]]),
    ],
)
def test_R77_a_digest_that_the_bytes_do_not_have_is_refused(field: str, values: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        check_digests({**DIGESTS_OF_FORM, field: values}, "demo-1.0.zip", DIGESTS)
    told = f"the form says {field} {values[-1]!r}, but the received bytes of 'demo-1.0.zip' have {DIGESTS[field]!r}"
    assert str(refused.value) == told


def test_R78_every_digest_that_is_given_is_compared_and_none_has_to_be() -> None:
    md5 = DIGESTS["md5_digest"]
    base64_md5 = base64.urlsafe_b64encode(bytes.fromhex(md5)).decode()
    for spelled in (md5, md5.upper(), f" {md5}\n", base64_md5, base64_md5.rstrip("="), ""):
        given = {**DIGESTS_OF_FORM, "md5_digest": [spelled], "blake2_256_digest": [DIGESTS["blake2_256_digest"].upper()]}
        check_digests(given, "demo-1.0.zip", DIGESTS)
    check_digests(NAMED, "demo-1.0.zip", DIGESTS)


@given(field=st.sampled_from([*DIGESTS]), text=st.text(max_size=70))
def test_R78_no_other_text_passes_for_a_digest(field: str, text: str) -> None:
    with pytest.raises(BadRequest, match=field):
        check_digests({field: [f"x{text}"]}, "demo-1.0.zip", DIGESTS)


# What a release is told --------------------------------------------------------------------------------------------


def release(**metadata: Any) -> Release:
    return Release(DEV.name, "demo", "1.0", {"name": "Demo", "version": "1.0", **metadata})


def test_a_new_release_is_told_what_is_not_empty() -> None:
    given = {"name": "Demo", "version": "1.0", "summary": "", "classifiers": []}
    assert described(None, DEV.name, "demo", given) == (
        ReleaseDescribed(DEV.name, "demo", "1.0", {"name": "Demo", "version": "1.0"}),
    )


def test_later_only_fields_that_are_given_and_differ_are_said() -> None:
    former = release(summary="old", license="MIT", keywords="a", description="long")
    given = {"name": "demo", "version": "1.0", "summary": "new", "license": "", "keywords": "a", "author": ""}
    assert described(former, DEV.name, "demo", given) == (
        ReleaseDescribed(DEV.name, "demo", "1.0", {"name": "demo", "summary": "new"}, ("license",)),
    )
    assert described(former, DEV.name, "demo", dict(former.metadata)) == ()


@given(former=FORMS, given=FORMS)
def test_after_the_change_given_fields_are_as_given_and_others_as_before(former: Any, given: Any) -> None:
    before = {key: value for key, value in read_metadata({**former, **NAMED}).items() if value}
    told = read_metadata({**given, **NAMED})
    after = dict(before)
    for change in described(release(**before), DEV.name, "demo", told):
        after.update(change.changed)
        after = {key: value for key, value in after.items() if key not in change.removed}
    assert after == {key: value for key, value in {**before, **told}.items() if value}


def test_version_data_show_every_field_the_protocol_knows() -> None:
    shown = shown_metadata({"name": "Demo", "version": "1.0", "import_names": ["demo"], "keywords": "x"})
    strings = (
        "name version metadata_version summary home_page author author_email maintainer maintainer_email license description"
        " keywords download_url comment requires_python description_content_type license_expression"
    )
    lists = (
        "platform classifiers supported_platform provides requires obsoletes project_urls provides_dist obsoletes_dist"
        " requires_dist requires_external provides_extras dynamic license_file"
    )
    empty = {**dict.fromkeys(strings.split(), ""), **{key: [] for key in lists.split()}}
    assert shown == {**empty, "name": "Demo", "version": "1.0", "import_names": ["demo"], "keywords": "x"}


def test_every_field_can_be_replaced_at_once() -> None:
    assert set(every_field({})) == {*TEXT_FIELDS, *LIST_FIELDS, COMMENT}
    assert every_field({"summary": "x"})["summary"] == "x"
