from __future__ import annotations

import html
import re
from urllib.parse import unquote, urljoin

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simple.rendered import (
    LINK,
    OTHER,
    SHA256,
    WHEEL,
    Anchors,
    as_html,
    as_json,
    attributes_of,
    file_of,
    known,
    page,
    project,
)
from tests.strategies import any_text, links, page_headers
from twistpi.model.records import KnownFile, Link, PageHeader
from twistpi.simple.negotiate import Representation
from twistpi.simple.parse import parse_project_page
from twistpi.simple.render import etag, link_prefix, merge, render_project

ANCHOR = re.compile(r"<a [^>]+>([^<]+)</a>")


# HTML --------------------------------------------------------------------------------------------------------------


def test_the_html_page_as_a_whole() -> None:
    link = attrs.evolve(LINK, requires_python=">=3.7,<4", yanked="why")
    assert as_html(page(known(link, metadata_sha256=OTHER))) == (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="pypi:repository-version" content="1.4">'
        "<title>root/pypi: links for demo</title></head><body><h1>root/pypi: links for demo</h1>\n"
        f'root/pypi <a href="../../+f/aba/{SHA256[3:16]}/{WHEEL}#sha256={SHA256}" '
        f'data-dist-info-metadata="sha256={OTHER}" data-core-metadata="sha256={OTHER}" '
        f'data-requires-python="&gt;=3.7,&lt;4" data-yanked="why">{WHEEL}</a><br>\n'
        "</body></html>\n"
    )


@given(st.lists(links(), max_size=5, unique_by=lambda link: link.filename), page_headers())
def test_R18_one_anchor_per_file_named_like_its_address(some: list[Link], header: PageHeader) -> None:
    header = attrs.evolve(header, status=None if header.status == "quarantined" else header.status)
    text = as_html(page(*map(known, some), header=header))
    found = Anchors(text).found
    assert text.startswith("<!DOCTYPE html><html lang=")
    assert [text for _attributes, text in found] == [link.filename for link in some]
    for attributes, name in found:
        assert unquote((attributes["href"] or "").partition("#")[0].rpartition("/")[2]) == name


def test_R18_odd_names_are_encoded_in_addresses_and_escaped_in_text() -> None:
    link = attrs.evolve(LINK, filename='a&b <c> "d" 100%+é#?.zip')
    ((attributes, text),) = Anchors(as_html(page(known(link)))).found
    path = urljoin("https://host/root/pypi/+simple/demo/", attributes["href"] or "").partition("#")[0]
    assert text == link.filename
    assert path == f"https://host/root/pypi/+f/aba/{SHA256[3:16]}" + "/a%26b%20%3Cc%3E%20%22d%22%20100%25+%C3%A9%23%3F.zip"


def test_R19_the_version_of_html_is_1_4() -> None:
    for merged in (page(), page(known(attrs.evolve(LINK, size=None)))):
        assert Anchors(as_html(merged)).metas["pypi:repository-version"] == "1.4"


@pytest.mark.parametrize(
    ("file", "fragment"),
    [
        (known(), f"#sha256={SHA256}"),
        (known(attrs.evolve(LINK, hashes={"md5": "0" * 32})), "#md5=" + "0" * 32),
        (known(attrs.evolve(LINK, hashes={"md5": "0" * 32}), sha256=OTHER, size=7), f"#sha256={OTHER}"),
        (known(attrs.evolve(LINK, hashes={"md5": "0" * 32, "sha512": SHA256 * 2})), "#sha512=" + SHA256 * 2),
        (known(attrs.evolve(LINK, hashes={"blake2b_256": SHA256})), ""),
        (known(attrs.evolve(LINK, hashes={})), ""),
    ],
)
def test_R20_the_fragment_is_the_best_digest(file: KnownFile, fragment: str) -> None:
    href = attributes_of(file)["href"] or ""
    assert href.partition("#")[1] + href.partition("#")[2] == fragment


@given(any_text(), any_text().filter(bool))
def test_R21_attributes_are_escaped(requires_python: str, reason: str) -> None:
    text = as_html(page(known(attrs.evolve(LINK, requires_python=requires_python, yanked=reason))))
    # The control characters that no HTML document may hold become U+FFFD; Python's parser reads CR as it is.
    expected = [re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\ufffd", value) for value in (requires_python, reason)]
    ((attributes, _text),) = Anchors(text).found
    assert [attributes["data-requires-python"], attributes["data-yanked"]] == expected
    assert html.unescape(re.findall(r'data-yanked="([^"]*)"', text)[0]) == expected[1]


def test_R22_yanked_is_there_exactly_for_yanked_files() -> None:
    assert "data-yanked" not in attributes_of(known())
    assert attributes_of(known(attrs.evolve(LINK, yanked=True)))["data-yanked"] == ""
    assert attributes_of(known(attrs.evolve(LINK, yanked='"')))["data-yanked"] == '"'


def test_R23_both_names_of_core_metadata_have_equal_values() -> None:
    attributes = attributes_of(known(metadata_sha256=OTHER))
    assert attributes["data-core-metadata"] == attributes["data-dist-info-metadata"] == f"sha256={OTHER}"
    attributes = attributes_of(known())
    assert attributes["data-core-metadata"] == attributes["data-dist-info-metadata"] == "true"
    attributes = attributes_of(known(metadata_missing=True))
    assert not {"data-core-metadata", "data-dist-info-metadata"} & attributes.keys()


def test_R24_status_in_meta_tags() -> None:
    metas = Anchors(as_html(page(header=PageHeader("archived", 'done & "over"')))).metas
    assert (metas["pypi:project-status"], metas["pypi:project-status-reason"]) == ("archived", 'done & "over"')
    assert "pypi:project-status" not in Anchors(as_html(page())).metas


@given(st.lists(links(), max_size=4, unique_by=lambda link: link.filename))
def test_R25_anchors_are_found_by_a_naive_pattern(some: list[Link]) -> None:
    assert ANCHOR.findall(as_html(page(*map(known, some)))) == [link.filename for link in some]


# JSON --------------------------------------------------------------------------------------------------------------


def test_R26_the_json_page_as_a_whole() -> None:
    link = attrs.evolve(LINK, requires_python=">=3.7", upload_time="2026-11-22T17:00:00Z", yanked="why",
                        provenance="https://upstream.example/p", core_metadata={"sha256": OTHER}, extra={"new": [1]})  # fmt: skip
    merged = page(known(link), versions=("1.0", "2.0"), header=PageHeader("deprecated", "old", 9, {"future": {"a": 1}}))
    assert as_json(merged) == {
        "meta": {"api-version": "1.4", "_last-serial": 9},
        "name": "demo",
        "versions": ["1.0", "2.0"],
        "project-status": {"status": "deprecated", "reason": "old"},
        "future": {"a": 1},
        "files": [
            {
                "filename": WHEEL,
                "url": f"../../+f/aba/{SHA256[3:16]}/{WHEEL}",
                "hashes": {"sha256": SHA256},
                "size": 7,
                "upload-time": "2026-11-22T17:00:00Z",
                "requires-python": ">=3.7",
                "core-metadata": {"sha256": OTHER},
                "yanked": "why",
                "provenance": "https://upstream.example/p",
                "new": [1],
            }
        ],
    }


def test_R27_hashes_are_there_even_empty() -> None:
    entry = file_of(known(attrs.evolve(LINK, hashes={}, size=None)))
    assert entry["hashes"] == {}
    assert "size" not in entry
    entry = file_of(known(attrs.evolve(LINK, hashes={}, size=None), sha256=OTHER, size=5))
    assert (entry["hashes"], entry["size"]) == ({"sha256": OTHER}, 5), "once the bytes are here, what they are"


def test_R27_json_has_no_digest_that_makes_the_page_unreadable_for_uv() -> None:
    long, short = {"blake2b": "ab" * 64}, {"blake2b": "ab" * 32}
    for hashes, told in ((long, {}), ({"md5": "0" * 32, **long}, {"md5": "0" * 32}), (short, short)):
        assert file_of(known(attrs.evolve(LINK, hashes=hashes)))["hashes"] == told
        assert file_of(known(attrs.evolve(LINK, core_metadata=hashes)))["core-metadata"] == (told or True)
    assert file_of(known(attrs.evolve(LINK, hashes=long), sha256=OTHER))["hashes"] == {"sha256": OTHER}


def test_R28_versions_cover_every_file_once() -> None:
    names = [
        "demo-1.0.0.zip",
        "demo-2.0-py3-none-any.whl",
        "demo-2.0.zip",
        "demo-3.0_local-py3-none-any.whl",
        "demo-odd.zip",
        "x",
    ]
    merged = page(*(known(attrs.evolve(LINK, filename=name)) for name in names), versions=("1.0", "9.0"))
    assert as_json(merged)["versions"] == ["1.0", "9.0", "2.0", "3.0_local", "odd"]


def test_R30_yanked_is_true_or_a_reason() -> None:
    assert file_of(known(attrs.evolve(LINK, yanked=True)))["yanked"] is True
    assert file_of(known(attrs.evolve(LINK, yanked="why")))["yanked"] == "why"
    assert "yanked" not in file_of(known())


@given(st.lists(links(), max_size=4, unique_by=lambda link: link.filename))
def test_R31_core_metadata_goes_by_no_other_name(some: list[Link]) -> None:
    entries = as_json(page(*map(known, some)))["files"]
    assert not any(name.endswith("dist-info-metadata") for entry in entries for name in entry)
    assert all(isinstance(entry.get("core-metadata", True), bool | dict) for entry in entries)


def test_R33_provenance_goes_through_or_is_absent() -> None:
    assert "provenance" not in file_of(known())
    assert file_of(known(attrs.evolve(LINK, provenance="https://upstream.example/p")))["provenance"].startswith("https://")


def test_R31_metadata_of_an_sdist_is_promised_only_with_a_digest() -> None:
    sdist = attrs.evolve(LINK, filename="demo-1.0.tar.gz", core_metadata=True)
    assert "core-metadata" not in file_of(known(sdist))
    assert file_of(known(attrs.evolve(sdist, core_metadata={"sha256": SHA256})))["core-metadata"] == {"sha256": SHA256}


def test_R34_status_is_a_top_level_object() -> None:
    assert as_json(page(header=PageHeader("archived")))["project-status"] == {"status": "archived"}
    assert "project-status" not in as_json(page())


@given(st.lists(links(), max_size=3, unique_by=lambda link: link.filename))
def test_R35_own_additions_begin_with_an_underscore(some: list[Link]) -> None:
    files = [known(attrs.evolve(link, extra={}), vanished=True, sha256=SHA256, size=1) for link in some]
    document = as_json(page(*files, vanished=True))
    standard = {"filename", "url", "hashes", "size", "upload-time", "requires-python", "core-metadata", "yanked", "provenance"}
    assert document["_vanished"] is True
    assert all(entry.keys() - standard == {"_vanished"} for entry in document["files"])
    assert document.keys() - {"_vanished"} <= {"meta", "name", "files", "versions"}


def test_R64_json_with_unknown_sizes_is_of_version_1_0() -> None:
    unknown = known(attrs.evolve(LINK, filename="demo-2.0.zip", size=None))
    document = as_json(page(known(), unknown))
    assert document["meta"]["api-version"] == "1.0"
    assert "versions" not in document
    assert as_json(page(known(), attrs.evolve(unknown, sha256=SHA256, size=5)))["meta"]["api-version"] == "1.4"
    assert as_json(page())["meta"]["api-version"] == "1.4"


def test_R63_quarantined_projects_offer_nothing() -> None:
    merged = page(known(sha256=SHA256, size=7), header=PageHeader("quarantined", "malware"))
    assert as_json(merged)["files"] == []
    assert as_json(merged)["project-status"] == {"status": "quarantined", "reason": "malware"}
    assert not Anchors(as_html(merged)).found


@given(st.lists(links(), max_size=4, unique_by=lambda link: link.filename), page_headers(), st.sampled_from(list(Representation)))
def test_R61_a_mirror_of_this_mirror_reads_the_same(some: list[Link], header: PageHeader, form: Representation) -> None:
    """What this server parses of an upstream, another one parses of this server, addresses apart."""
    whole = page(*map(known, some), header=attrs.evolve(header, status="active"))
    body = render_project(whole, form, base="../../")
    read = parse_project_page(body, form.value, "https://host/root/pypi/+simple/demo/", "demo")
    assert [link.filename for link in read.links] == [link.filename for link in some]
    for link, copy in zip(some, read.links, strict=True):
        assert copy.url.startswith("https://host/root/pypi/+")
        assert copy.hashes == link.hashes
        assert (copy.yanked is False) == (link.yanked is False)
        if form.is_json:
            assert (copy.size, copy.upload_time, copy.provenance) == (link.size, link.upload_time, link.provenance)
            assert copy.yanked == (link.yanked if link.yanked is False else link.yanked or True)


# Addresses and tags ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_path", ["alice/dev/+simple/demo/", "alice/dev/+simple/demo", "alice/dev/demo/", "alice/dev/demo"])
@pytest.mark.parametrize("owner", ["alice/dev", "alice/other", "ops/up"])
def test_R06_links_lead_to_their_index_from_every_alias(page_path: str, owner: str) -> None:
    base = {"+simple/demo/": "../../", "+simple/demo": "../", "demo/": "../", "demo": ""}[page_path.removeprefix("alice/dev/")]
    for host in ("https://host/", "https://host/prefix/"):
        link = link_prefix(base, "alice/dev", owner) + "+f/x"
        assert urljoin(host + page_path, link) == f"{host}{owner}/+f/x"
        assert link_prefix(f"{host}alice/dev/", "alice/dev", owner) == f"{host}{owner}/"


def test_files_of_other_indexes_are_linked_relatively() -> None:
    merged = merge("alice/dev", "demo", [project(known(), index="ops/up")])
    assert as_json(merged)["files"][0]["url"].startswith("../../../../ops/up/+f/aba/")
    assert 'ops/up <a href="../../../../ops/up/+f/aba/' in as_html(merged)


def test_R52_tags_are_strong_and_differ_per_body_and_type() -> None:
    tags = {etag(body, kind) for body in (b"a", b"b") for kind in ("text/html", "application/json", "")}
    assert len(tags) == 6
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags)
    assert etag(b"a", "x") == etag(b"a", "x")


def test_equal_pages_are_equal_bytes() -> None:
    for form in Representation:
        assert render_project(page(known()), form, base="") == render_project(page(known()), form, base="")
