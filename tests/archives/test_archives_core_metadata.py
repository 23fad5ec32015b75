from __future__ import annotations

import contextlib
from email.parser import BytesHeaderParser
from email.policy import compat32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.archives.made_archives import bounded
from twistpi.archives.core_metadata import CoreMetadata, parse_core_metadata
from twistpi.archives.source import Limits
from twistpi.model.errors import InvalidDistribution
from twistpi.model.releases import LIST_FIELDS, TEXT_FIELDS

HEAD = b"Metadata-Version: 2.4\nName: Some.Name\nVersion: 1.0\n"
OLD = HEAD.replace(b"2.4", b"1.1")


def parsed(raw: bytes, limits: Limits | None = None) -> CoreMetadata:
    return parse_core_metadata(raw, "some_name-1.0.tar.gz", limits or Limits())


def leniently(raw: bytes) -> CoreMetadata:
    return parse_core_metadata(raw, "some_name-1.0.tar.gz", is_strict=False)


def refused(raw: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(InvalidDistribution) as caught:
        parsed(raw, limits)
    return caught.value.reason


def test_R76_every_field_is_known_under_the_name_forms_have_for_it() -> None:
    every = "".join(
        f"{header}: the {key}\n" for key, header in TEXT_FIELDS.items() if key not in ("metadata_version", "name", "version")
    )
    every += "".join(f"{header}: first\n{header}: second {key}\n" for key, header in LIST_FIELDS.items())
    found = parsed(HEAD + every.encode())
    assert (found.name, found.version) == ("Some.Name", "1.0")
    assert set(found.fields) == {*TEXT_FIELDS, *LIST_FIELDS}
    assert found.fields["license_expression"] == "the license_expression"
    assert found.fields["requires_dist"] == ["first", "second requires_dist"]
    assert found.fields["import_names"] == ["first", "second import_names"]


def test_a_real_one_is_read() -> None:
    raw = (
        b"Metadata-Version: 2.4\r\nName: some-name\r\nVersion: 1.0rc1\r\nAuthor-email: J\xc3\xbcrgen <j@devpi.example>\r\n"
        b"classifier: A :: B\r\nClassifier: C\r\nProject-URL: Home, https://devpi.example/a:b\r\nKeywords: a,b\r\n"
        b"\r\n# Title\r\n\r\nText: no\r\n"
    )
    assert parsed(raw).fields == {
        "metadata_version": "2.4",
        "name": "some-name",
        "version": "1.0rc1",
        "author_email": "Jürgen <j@devpi.example>",
        "classifiers": ["A :: B", "C"],
        "project_urls": ["Home, https://devpi.example/a:b"],
        "keywords": "a,b",
        "description": "# Title\r\n\r\nText: no\r\n",
    }


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.17"])
def test_R79_metadata_of_any_version_that_installers_read_is_read(version: str) -> None:
    assert parsed(HEAD.replace(b"2.4", version.encode())).fields["metadata_version"] == version


@pytest.mark.parametrize("version", [b"3.0", b"0.9", b"2", b"2.x", b"2.4.1", b"two", b"2.99999"])
def test_R79_metadata_of_another_major_version_is_refused(version: bytes) -> None:
    assert "unknown Metadata-Version" in refused(HEAD.replace(b"2.4", version))


def test_what_is_empty_or_unknown_is_not_given() -> None:
    raw = (
        HEAD + b"Summary: UNKNOWN\nHome-page:\nLicense:  \nPlatform: UNKNOWN\nClassifier: \nClassifier: A\nTracks: a\nX-Own: b\n"
    )
    assert set(parsed(raw).fields) == {"metadata_version", "name", "version", "classifiers"}


@pytest.mark.parametrize("indent", [b"        ", b"       |", b"\t"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_description_among_the_headers_loses_the_indentation_that_makes_it_one(indent: bytes, end: bytes) -> None:
    raw = HEAD + end.join([b"Description: Title", indent + b"=====", indent, indent + b"  code", b"License: L", b""])
    assert parsed(raw).fields["description"] == "Title\n=====\n\n  code"
    assert parsed(raw).fields["license"] == "L"


def test_the_body_wins_over_a_description_among_the_headers() -> None:
    assert parsed(HEAD + b"Description: short\n\nlong\n").fields["description"] == "long\n"


def test_of_a_field_that_is_repeated_against_the_rules_the_first_counts() -> None:
    assert parsed(HEAD + b"Summary: one\nSummary: two\n").fields["summary"] == "one"


@pytest.mark.parametrize(
    "again", [b"Name: other\n", b"name: Some.Name\n", b"Version: 1.0\n", b"METADATA-VERSION: 2.4\n", b"Name:\n"]
)
def test_what_identifies_a_release_stands_once(again: bytes) -> None:
    assert "more than one" in refused(HEAD + again)


@pytest.mark.parametrize("line", [b"Metadata-Version: 2.4\n", b"Name: Some.Name\n", b"Version: 1.0\n"])
def test_what_identifies_a_release_must_stand_there(line: bytes) -> None:
    key = line.partition(b":")[0]
    assert refused(HEAD.replace(line, b"")) == f"its metadata has no {key.decode()}"
    assert "has no" in refused(HEAD.replace(line, key + b":\n"))
    assert "has no" in refused(HEAD.replace(line, key + b": UNKNOWN\n"))
    assert "has no" in refused(HEAD.replace(line, b"") + b"\n" + line), "it stands in the body"


@pytest.mark.parametrize("name", [b"-", b"a b", b"../x", b"a/b", b"\xc3\xa4", b"_", b"x" * 201])
def test_a_name_that_no_project_may_have_is_refused(name: bytes) -> None:
    assert "name" in refused(HEAD.replace(b"Some.Name", name))


@pytest.mark.parametrize("version", [b"1.0/2", b"1 0", b"..\\x", b"<b>", b'1"', b"1%32", b"1#", b"1\x7f", b"9" * 201])
def test_a_version_that_cannot_stand_in_a_url_is_refused(version: bytes) -> None:
    assert "which is not valid" in refused(HEAD.replace(b"1.0", version))


@pytest.mark.parametrize("field", [b"Metadata-Version", b"Name", b"Version"])
@pytest.mark.parametrize("folded", [b"\n %s", b"%s\n ", b"\r\n\t%s"])
def test_what_names_a_release_stands_on_one_line(field: bytes, folded: bytes) -> None:
    lines = dict(line.split(b": ") for line in HEAD.splitlines())
    head = b"".join(b"%s: %s\n" % (key, folded % value if key == field else value) for key, value in lines.items())
    assert refused(head) == f"its metadata has a {field.decode()} that is folded over several lines"
    assert leniently(head).name == "Some.Name"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (HEAD.replace(b"2.4", b"3.0"), {"metadata_version": "3.0"}),
        (HEAD.replace(b"Metadata-Version: 2.4\n", b""), {}),
        (HEAD + b"Author: J\xfcrgen\n", {"metadata_version": "2.4", "author": "Jürgen"}),
        (HEAD + b"Version: 2.0\n", {"metadata_version": "2.4"}),
    ],
)
def test_a_lenient_reader_takes_odd_metadata(raw: bytes, told: dict[str, str]) -> None:
    refused(raw)
    assert leniently(raw).fields == {"name": "Some.Name", "version": "1.0", **told}


@pytest.mark.parametrize("raw", [b"", HEAD.replace(b"Some.Name", b"a b"), HEAD.replace(b"Version: 1.0\n", b""), HEAD + b"\0"])
def test_a_lenient_reader_needs_a_name_and_a_version(raw: bytes) -> None:
    with pytest.raises(InvalidDistribution):
        leniently(raw)


@pytest.mark.parametrize("version", ["1!2.0", "1.0+cpu", "2004d", "1.0-beta", "0", "1.0.dev3"])
def test_versions_need_not_be_of_the_present_scheme(version: str) -> None:
    assert parsed(HEAD.replace(b"1.0", version.encode())).version == version


def test_bytes_that_are_not_utf_8_are_read_only_in_old_metadata() -> None:
    author = b"Author: J\xfcrgen\n"
    assert parsed(OLD + author).fields["author"] == "Jürgen"
    assert "not UTF-8" in refused(HEAD + author)
    assert "not UTF-8" in refused(HEAD + b"\n\xff\xfe")
    assert "not UTF-8" in refused(HEAD + b"Summary: \xed\xa0\x80\n"), "a lone surrogate"


@pytest.mark.parametrize("place", [HEAD + b"Summary: a\0b\n", HEAD + b"\nbody\0", HEAD.replace(b"Some", b"So\0me")])
def test_a_nul_is_refused(place: bytes) -> None:
    assert "NUL" in refused(place)


def test_a_line_that_is_no_header_begins_the_body_as_for_installers() -> None:
    found = parsed(HEAD + b"Summary : with a space\nLicense: no header any more\n")
    assert found.fields["description"] == "Summary : with a space\nLicense: no header any more\n"
    assert "license" not in found.fields


def test_a_carriage_return_ends_a_line_as_for_installers() -> None:
    assert "more than one Name" in refused(HEAD + b"Summary: x\rName: evil\n")


@given(
    st.lists(
        st.sampled_from(
            [b"Name", b"Version", b"Metadata-Version", b"Summary", b"X", b" ", b"\t", b":", b"\r", b"\n", b"\r\n", b"1.0", b"a"]
        )
    )
)
def test_name_and_version_are_those_that_the_installers_parser_sees(tokens: list[bytes]) -> None:
    raw = HEAD + b"License: x\n" + b"".join(tokens)
    mail = BytesHeaderParser(policy=compat32).parsebytes(raw)
    try:
        found = parsed(raw)
    except InvalidDistribution:
        assert (
            len(mail.get_all("Name", [])) > 1
            or len(mail.get_all("Version", [])) > 1
            or len(mail.get_all("Metadata-Version", [])) > 1
        )
        return
    assert (found.name, found.version) == (mail["Name"], mail["Version"])
    assert mail.get_all("Name") == ["Some.Name"]
    summaries = [str(summary).split() for summary in mail.get_all("Summary", [])]
    assert found.fields.get("summary", "").split() == next((words for words in summaries if words), [])


@given(st.binary(max_size=300))
def test_any_bytes_are_metadata_or_refused(raw: bytes) -> None:
    for whole in (raw, HEAD + raw):
        with contextlib.suppress(InvalidDistribution):
            parsed(whole)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (HEAD + b"\n" + b"x" * (100 * 1024 * 1024), "too large"),
        (HEAD + b"X: " + b"y" * 7_000_000, "too large fields"),
        (HEAD + b"Classifier: a\n" * 70_000, "too many"),
        (HEAD + b"".join(b"a%x:\n" % number for number in range(100_000)), "too many"),
        (HEAD + b"Description: a\n" + b" \n" * 3_000_000, "too large fields"),
        (HEAD + b":\n" * 4_000_000, "too many"),
    ],
    ids=["body of 100 MB", "long header", "many classifiers", "many unknown fields", "folded without end", "colons"],
)
def test_metadata_without_measure_is_refused_at_once(raw: bytes, reason: str) -> None:
    with bounded(mebibytes=10):
        assert reason in refused(raw)


def test_metadata_as_large_as_it_may_be_needs_bounded_memory() -> None:
    folded = HEAD + b"Description: a\n" + b" \n" * 520_000
    with bounded(mebibytes=80):
        parsed(folded)
    with bounded(mebibytes=64):
        parsed(HEAD + b"\n" + "\N{SNAKE}".encode() * 2_000_000)
