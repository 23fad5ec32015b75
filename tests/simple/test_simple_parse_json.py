from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import json_values
from twistpi.model.errors import BadUpstreamPage
from twistpi.model.records import Link, PageHeader, ProjectPage
from twistpi.simple.parse import parse_project_page

URL = "https://upstream.example/simple/demo/"
TYPE = "application/vnd.pypi.simple.v1+json"
SHA256 = "ab" * 32
FILE: dict[str, Any] = {
    "filename": "demo-1.0-py3-none-any.whl",
    "url": "https://files.upstream.example/a/demo-1.0-py3-none-any.whl",
    "hashes": {"sha256": SHA256},
}


def parse(page: object, content_type: str = TYPE, url: str = URL) -> ProjectPage:
    return parse_project_page(page if isinstance(page, bytes) else orjson.dumps(page), content_type, url, "demo")


def page_of(*files: object, **more: object) -> ProjectPage:
    return parse({"meta": {"api-version": "1.4"}, "name": "demo", "files": list(files), **more})


def link_of(**fields: object) -> Link:
    (link,) = page_of({**FILE, **{name.replace("_", "-"): value for name, value in fields.items()}}).links
    return link


def refusal(page: object, content_type: str = TYPE) -> str:
    with pytest.raises(BadUpstreamPage) as caught:
        parse(page, content_type)
    assert caught.value.url == URL
    return caught.value.reason


def test_R61_every_field_passes_unchanged() -> None:
    link = link_of(
        size=7,
        requires_python=">=3.8, <4",
        upload_time="2026-11-22T17:00:00.123456Z",
        yanked='bad "one"',
        core_metadata={"sha256": "cd" * 32},
        provenance="https://upstream.example/integrity/demo/provenance",
    )
    assert link == Link(
        filename=FILE["filename"],
        url=FILE["url"],
        hashes={"sha256": SHA256},
        size=7,
        requires_python=">=3.8, <4",
        upload_time="2026-11-22T17:00:00.123456Z",
        yanked='bad "one"',
        core_metadata={"sha256": "cd" * 32},
        provenance="https://upstream.example/integrity/demo/provenance",
    )


def test_R61_versions_and_header_pass() -> None:
    page = page_of(
        versions=["1.0", "2.0", "1.0", 3, ""],
        **{"project-status": {"status": "archived", "reason": "done"}},
        meta={"api-version": "1.4", "_last-serial": 12},
    )
    assert page == ProjectPage("demo", (), ("1.0", "2.0"), PageHeader("archived", "done", 12))


def test_status_may_stand_in_meta_as_in_the_example_of_the_specification() -> None:
    page = page_of(meta={"api-version": "1.4", "project-status": {"status": "quarantined"}})
    assert page.header.status == "quarantined"


@pytest.mark.parametrize("status", [None, "gone", 3, {"status": "gone"}, {"status": ["active"]}, []])
def test_unknown_status_is_none(status: object) -> None:
    assert page_of(**{"project-status": status}).header.status is None


def test_unknown_keys_are_kept_but_private_and_rejected_ones_are_not() -> None:
    dropped = {"_private": 1, "tracks": [], "alternate-locations": [], "namespaces": None}
    page = page_of(
        {**FILE, "variant": {"a": [1]}, "gpg-sig": True, "dist-info-metadata": True, "data-dist-info-metadata": True, "_x": 1},
        **dropped,
        future={"b": 2},
    )
    assert page.links[0].extra == {"variant": {"a": [1]}}
    assert page.header.extra == {"future": {"b": 2}}


def test_unknown_keys_too_large_or_too_deep_to_be_kept_are_dropped() -> None:
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    page = page_of({**FILE, "deep": deep, "long": "x" * 100_000, "fine": "x"})
    assert page.links[0].extra == {"fine": "x"}


@pytest.mark.parametrize(
    ("claim", "kept"),
    [
        (True, True),
        (False, False),
        (None, None),
        ({}, True),
        ({"sha256": "xyz"}, True),
        ({"sha256": SHA256}, {"sha256": SHA256}),
        ("true", None),
    ],
)
def test_core_metadata_is_a_digest_or_a_yes(claim: object, kept: object) -> None:
    assert link_of(core_metadata=claim).core_metadata == kept


def test_core_metadata_under_its_former_names() -> None:
    assert link_of(data_dist_info_metadata={"sha256": SHA256}).core_metadata == {"sha256": SHA256}
    assert link_of(dist_info_metadata=True).core_metadata is True
    assert link_of(core_metadata=False, dist_info_metadata=True).core_metadata is False


@pytest.mark.parametrize(
    ("mark", "kept"),
    [(False, False), (True, True), ("", False), (None, False), ("why", "why"), (1, True), (["x"], True), (0, False)],
)
def test_R62_a_yank_mark_never_gets_lost(mark: object, kept: object) -> None:
    assert link_of(yanked=mark).yanked == kept


def test_R62_a_huge_reason_is_cut() -> None:
    yanked = link_of(yanked="x" * 1_000_000).yanked
    assert isinstance(yanked, str)
    assert 0 < len(yanked) < 10_000


@pytest.mark.parametrize("size", [-1, 2**53 + 1, 2**63, 10**30, True, "7", 7.0, None, [7]])
def test_absurd_sizes_are_dropped(size: object) -> None:
    body = json.dumps({"files": [{**FILE, "size": size}]}).encode()  # orjson writes no integers of more than 64 bits
    assert parse(body).links[0].size is None


@pytest.mark.parametrize(
    "time",
    ["2026-11-22", "2026-11-22T17:00:00", "2026-13-22T17:00:00Z", "2026-02-30T17:00:00Z", 5, None,
     "2026-11-22T17:00:00+25:00", "0001-01-01T00:00:00+01:00", "2026-11-22T17:00:00+1", "٢٠٢٦-11-22T17:00:00Z"],
)  # fmt: skip
def test_R29_times_that_are_none_are_dropped(time: object) -> None:
    assert link_of(upload_time=time).upload_time is None


def test_R29_times_with_and_without_fraction_pass() -> None:
    for time in ("2026-11-22T17:00:00Z", "2026-11-22T17:00:00.1Z", "2026-11-22T17:00:00.123456Z"):
        assert link_of(upload_time=time).upload_time == time


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2026-11-22T17:00:00+00:00", "2026-11-22T17:00:00Z"),
        ("2026-11-22T17:00:00.25+02:00", "2026-11-22T15:00:00.25Z"),
        ("2026-12-31T23:30:00.123456-0330", "2027-01-01T03:00:00.123456Z"),
        ("2026-11-22T17:00:00.123456789+01", "2026-11-22T16:00:00.123456Z"),
        ("2026-11-22 17:00:00 z\n", "2026-11-22T17:00:00Z"),
    ],
)
def test_R29_times_in_other_spellings_are_converted_to_utc(time: str, utc: str) -> None:
    assert link_of(upload_time=time).upload_time == utc


@pytest.mark.parametrize(
    "url", ["http://upstream.example/p", "/p", "ftp://upstream.example/p", "https://", "https://a b/", 3, None]
)
def test_R33_provenance_that_is_not_absolute_https_is_dropped(url: object) -> None:
    assert link_of(provenance=url).provenance is None


def test_R33_provenance_of_an_upstream_without_tls_is_passed_on_and_shows_no_secret() -> None:
    for url, shown in [
        ("http://upstream.example/p", "http://upstream.example/p"),
        ("https://upstream.example/p", "https://upstream.example/p"),
        ("http://me:secret@upstream.example/p", "http://upstream.example/p"),
        ("http://upstream.example/p?token=secret", None),
    ]:
        page = parse({"files": [{**FILE, "provenance": url}]}, url="http://upstream.example/simple/demo/")
        assert page.links[0].provenance == shown


def test_hashes_are_made_lower_case_and_impossible_ones_dropped() -> None:
    hashes = {
        "SHA256": SHA256.upper(), "md5": "0" * 31, "sha1": "g" * 40, "blake2b_256": "0f" * 32, "sha512": SHA256, "x y": SHA256,
        "odd": "abc" * 11, "sha384": 5,
    }  # fmt: skip
    assert link_of(hashes={" sha256 ": f"{SHA256}\n"}).hashes == {"sha256": SHA256}
    assert link_of(hashes=hashes).hashes == {"sha256": SHA256, "blake2b_256": "0f" * 32}


@pytest.mark.parametrize("hashes", [None, [], "sha256", 5, {}])
def test_hashes_that_are_none_leave_the_file(hashes: object) -> None:
    assert link_of(hashes=hashes).hashes == {}


def test_a_digest_in_the_fragment_counts_when_there_is_no_other() -> None:
    link = link_of(hashes={}, url=f"{FILE['url']}#sha256={SHA256}&egg=demo")
    assert (link.url, link.hashes) == (FILE["url"], {"sha256": SHA256})


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "file:///etc/passwd", "data:text/plain,x", "ftp://upstream.example/x", "https://", "https:///x", "//",
     "https://a\r\nX-Evil: 1/x", "https://upstream.example/x\r\nX-Evil: 1", "https://upstream.example:99999/x", "https://[::1/x",
     "https://good.example\\@evil.example/x", "https://a b/x", "https://upstream.example/" + "x" * 5_000, 5, None, [], "http://\u2028/x"],
)  # fmt: skip
def test_addresses_that_cannot_be_fetched_drop_the_file(url: object) -> None:
    assert page_of({**FILE, "url": url}, FILE).links == page_of(FILE).links


@pytest.mark.parametrize(
    "filename",
    ["../../etc/passwd", "a/b.whl", "a\\b.whl", "..", ".hidden", "", "a\x00.whl", "a\r\nX-Evil: 1.whl", "x" * 300, "é" * 150, 5,
     None, "demo-1.0-py3-none-any.whl.metadata", "a\u2028b.whl", "a\x85b.whl"],
)  # fmt: skip
def test_hostile_filenames_drop_the_file(filename: object) -> None:
    assert page_of({**FILE, "filename": filename}, FILE).links == page_of(FILE).links


def test_odd_but_harmless_names_and_addresses_stay() -> None:
    (link,) = page_of({"filename": "dëmo 1.0+x.zip", "url": "https://upstream.example/a b/ü?x=é#frag"}).links
    assert link == Link("dëmo 1.0+x.zip", "https://upstream.example/a%20b/%C3%BC?x=%C3%A9")


@pytest.mark.parametrize("entry", [None, 5, "x", [], {}, {"filename": "a.zip"}, {"url": "https://upstream.example/a.zip"}])
def test_entries_that_are_none_drop_nothing_else(entry: object) -> None:
    assert page_of(entry, FILE).links == page_of(FILE).links


def test_of_files_with_one_name_the_first_with_a_digest_wins() -> None:
    bare, second = {**FILE, "hashes": {}}, {**FILE, "hashes": {"sha256": "cd" * 32}}
    assert page_of(bare, FILE, second).links == page_of(FILE).links
    assert page_of(FILE, bare, second).links == page_of(FILE).links


@pytest.mark.parametrize(
    ("base", "url", "absolute"),
    [
        (URL, "../../files/demo-1.0.zip", "https://upstream.example/files/demo-1.0.zip"),
        (URL, "demo-1.0.zip", "https://upstream.example/simple/demo/demo-1.0.zip"),
        (URL, "./demo-1.0.zip", "https://upstream.example/simple/demo/demo-1.0.zip"),
        (URL, "/files/a/../demo-1.0.zip", "https://upstream.example/files/demo-1.0.zip"),
        (URL, "//cdn.upstream.example/demo-1.0.zip", "https://cdn.upstream.example/demo-1.0.zip"),
        (URL, "../../../../../demo-1.0.zip", "https://upstream.example/demo-1.0.zip"),
        (URL, "?file=demo-1.0.zip", "https://upstream.example/simple/demo/?file=demo-1.0.zip"),
        (
            "https://user:secret@upstream.example/simple/demo/",
            "demo-1.0.zip",
            "https://upstream.example/simple/demo/demo-1.0.zip",
        ),
        ("http://upstream.example:8080/simple/demo", "x/demo-1.0.zip", "http://upstream.example:8080/simple/x/demo-1.0.zip"),
    ],
)
def test_R07_relative_addresses_resolve_against_the_final_address(base: str, url: str, absolute: str) -> None:
    (link,) = parse({"files": [{"filename": "demo-1.0.zip", "url": url}]}, url=base).links
    assert link.url == absolute


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (b"", "empty"),
        (b"  \n ", "empty"),
        (b"{", "not JSON"),
        (b'{"files": [NaN]}', "not JSON"),
        (b"[1]", "not an object"),
        (b"null", "not an object"),
        ({"message": "no"}, "no list of files"),
        ({"files": {}}, "no list of files"),
        ({"meta": {"api-version": "2.0"}, "files": []}, "newer than 1"),
        ({"meta": {"api-version": "x"}, "files": []}, "is not a version"),
    ],
)
def test_a_page_that_is_none_is_refused_with_the_reason(page: object, reason: str) -> None:
    assert reason in refusal(page)


def test_neither_json_nor_html_is_refused() -> None:
    assert "image/png" in refusal(b"\x89PNG", "image/png")


@pytest.mark.parametrize("meta", [None, {}, {"api-version": "1.9"}, {"api-version": 1.0}, [], "x"])
def test_any_page_of_major_version_1_is_read(meta: object) -> None:
    assert len(parse({"meta": meta, "files": [FILE]}).links) == 1


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "text/html", TYPE.upper() + "; charset=utf-8"])
def test_json_is_recognised_under_any_type(content_type: str) -> None:
    assert len(parse(b"\xef\xbb\xbf \n" + orjson.dumps({"files": [FILE]}), content_type).links) == 1


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from([TYPE, "text/html", "", "a/b"]))
def test_any_bytes_are_a_page_or_refused(body: bytes, content_type: str) -> None:
    with contextlib.suppress(BadUpstreamPage):
        assert isinstance(parse(body, content_type), ProjectPage)


KEYS = ["filename", "url", "hashes", "size", "requires-python", "upload-time", "yanked", "core-metadata", "provenance", "new"]


@given(st.dictionaries(st.sampled_from(KEYS), json_values() | st.just(FILE["url"])), st.dictionaries(st.sampled_from(
    ["meta", "versions", "project-status", "name", "new"]), json_values()))  # fmt: skip
def test_any_json_is_a_page_or_refused(entry: dict[str, Any], page: dict[str, Any]) -> None:
    with contextlib.suppress(BadUpstreamPage):
        assert parse({**page, "files": [{**FILE, **entry}, entry]}).project == "demo"
