from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import links, page_headers, versions
from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import KnownFile, KnownProject, Link, PageHeader, ProjectPage
from twistpi.rules.mirrors import (
    decide_file_cached,
    decide_links,
    decide_metadata_cached,
    decide_metadata_missing,
    decide_vanished,
    external_directory,
    file_path,
)

INDEX = "root/pypi"
SHA256, OTHER = "ab" * 32, "cd" * 32
LINK = Link("demo-1.0.zip", "https://upstream.example/demo-1.0.zip", {"sha256": SHA256})
PATH = file_path(LINK)


def fold(known: KnownProject | None, changes: Sequence[Change]) -> KnownProject | None:
    """What the view does, in its shortest form: differences onto what was known."""
    for change in changes:
        if isinstance(change, ProjectVanished):
            assert known is not None
            files = tuple(attrs.evolve(file, vanished=True) for file in known.files)
            known = attrs.evolve(known, vanished=True, files=files)
        elif isinstance(change, LinksChanged):
            known = fold_links(known or KnownProject(INDEX, change.project, ()), change)
    return known


def fold_links(known: KnownProject, change: LinksChanged) -> KnownProject:
    files = {file.link.filename: file for file in known.files}
    names = set(files)
    assert not names & {link.filename for link in change.added}, "what is added was not known"
    assert names >= {link.filename for link in change.changed}, "what is changed was known"
    for name in change.removed:
        files[name] = attrs.evolve(files[name], vanished=True)
    for link in (*change.added, *change.changed):
        files[link.filename] = KnownFile(link, file_path(link))
    return KnownProject(
        INDEX,
        known.project,
        tuple(files.values()),
        tuple(dict.fromkeys((*(one for one in known.versions if one not in change.versions_removed), *change.versions_added))),
        change.header or known.header,
    )


@pytest.mark.parametrize(
    ("before", "now", "is_news"),
    [
        ("?X-Amz-Signature=1&Expires=9", "?X-Amz-Signature=2&Expires=10", False),
        ("?a", "?a", False),
        ("", "?a", True),
        ("?a", "", True),
        ("?a", "/?a", True),
    ],
)
def test_a_query_that_varies_is_no_difference(before: str, now: str, is_news: bool) -> None:
    former, link = (attrs.evolve(LINK, url=LINK.url + query) for query in (before, now))
    known = KnownProject(INDEX, "demo", (KnownFile(former, PATH),))
    assert bool(decide_links(INDEX, known, ProjectPage("demo", (link,)))) is is_news
    yanked = attrs.evolve(link, yanked=True)
    (change,) = decide_links(INDEX, known, ProjectPage("demo", (yanked,)))
    assert isinstance(change, LinksChanged)
    assert change.changed == (yanked,)


def pages() -> st.SearchStrategy[ProjectPage]:
    return st.builds(
        ProjectPage,
        project=st.just("demo"),
        links=st.lists(links(), max_size=4, unique_by=lambda link: link.filename).map(tuple),
        versions=st.lists(versions(), max_size=3, unique=True).map(tuple),
        header=page_headers(),
    )


@given(st.lists(pages() | st.none(), max_size=5))
def test_folding_the_differences_gives_exactly_the_page(history: list[ProjectPage | None]) -> None:
    """None stands for an upstream that answers that the project does not exist."""
    known: KnownProject | None = None
    for page in history:
        if page is None:
            known = fold(known, decide_vanished(known))
            assert known is None or known.vanished
            continue
        known = fold(known, decide_links(INDEX, known, page))
        assert known is not None
        listed = {file.link.filename: file.link for file in known.files if not file.vanished}
        assert listed == {link.filename: link for link in page.links}
        assert sorted(known.versions) == sorted(page.versions)
        assert known.header == page.header
        assert not known.vanished
        assert decide_links(INDEX, known, page) == (), "the same page again is no news"


def test_a_new_project_is_news_even_when_empty() -> None:
    assert decide_links(INDEX, None, ProjectPage("demo", ())) == (LinksChanged(INDEX, "demo"),)


def test_only_differences_are_said() -> None:
    second, third = attrs.evolve(LINK, filename="demo-2.0.zip"), attrs.evolve(LINK, filename="demo-3.0.zip")
    known = KnownProject(INDEX, "demo", tuple(KnownFile(link, file_path(link)) for link in (LINK, second)), ("1.0", "2.0"))
    yanked = attrs.evolve(LINK, yanked="why")
    page = ProjectPage("demo", (yanked, third), ("1.0", "3.0"), PageHeader("archived"))
    assert decide_links(INDEX, known, page) == (
        LinksChanged(INDEX, "demo", (third,), (yanked,), ("demo-2.0.zip",), ("3.0",), ("2.0",), PageHeader("archived")),
    )


def test_a_file_that_is_back_is_said_to_have_changed() -> None:
    known = KnownProject(INDEX, "demo", (KnownFile(LINK, PATH, SHA256, 7, vanished=True),))
    assert decide_links(INDEX, known, ProjectPage("demo", (LINK,))) == (LinksChanged(INDEX, "demo", changed=(LINK,)),)
    assert decide_links(INDEX, known, ProjectPage("demo", ())) == (), "gone already"


def test_a_project_that_is_back_is_news() -> None:
    known = KnownProject(INDEX, "demo", (), vanished=True)
    assert decide_links(INDEX, known, ProjectPage("demo", ())) == (LinksChanged(INDEX, "demo"),)


def test_a_project_vanishes_once_and_only_if_it_was_known() -> None:
    known = KnownProject(INDEX, "demo", ())
    assert decide_vanished(known) == (ProjectVanished(INDEX, "demo"),)
    assert decide_vanished(attrs.evolve(known, vanished=True)) == ()
    assert decide_vanished(None) == ()


def test_a_file_is_cached_once() -> None:
    file = KnownFile(LINK, PATH)
    assert decide_file_cached(INDEX, "demo", file, SHA256, 7) == (FileCached(INDEX, "demo", LINK.filename, SHA256, 7),)
    assert decide_file_cached(INDEX, "demo", attrs.evolve(file, sha256=SHA256, size=7), SHA256, 7) == ()


def test_bytes_that_no_link_names_any_more_are_not_said_to_be_cached() -> None:
    assert decide_file_cached(INDEX, "demo", None, SHA256, 7) == ()
    assert decide_file_cached(INDEX, "demo", KnownFile(LINK, PATH), OTHER, 7) == ()


def test_the_path_is_said_where_name_and_digest_leave_it_open() -> None:
    bare = attrs.evolve(LINK, hashes={})
    for file in (KnownFile(bare, file_path(bare)), KnownFile(LINK, PATH, vanished=True)):
        assert decide_file_cached(INDEX, "demo", file, SHA256, 7) == (
            FileCached(INDEX, "demo", LINK.filename, SHA256, 7, file.path),
        )
        assert decide_metadata_cached(INDEX, "demo", file, OTHER, 5) == (
            MetadataCached(INDEX, "demo", LINK.filename, OTHER, 5, file.path),
        )


def test_metadata_is_cached_once() -> None:
    file = KnownFile(LINK, PATH)
    assert decide_metadata_cached(INDEX, "demo", file, OTHER, 5) == (MetadataCached(INDEX, "demo", LINK.filename, OTHER, 5),)
    assert decide_metadata_cached(INDEX, "demo", attrs.evolve(file, metadata_sha256=OTHER, metadata_size=5), OTHER, 5) == ()
    assert decide_metadata_cached(INDEX, "demo", None, OTHER, 5) == ()


def test_metadata_that_is_not_what_the_link_promises_is_told_with_its_path() -> None:
    for promised, path in ((SHA256, PATH), (OTHER, None)):
        file = KnownFile(attrs.evolve(LINK, core_metadata={"sha256": promised}), PATH)
        told = MetadataCached(INDEX, "demo", LINK.filename, OTHER, 5, path)
        assert decide_metadata_cached(INDEX, "demo", file, OTHER, 5) == (told,)


def test_metadata_is_missing_once() -> None:
    file = KnownFile(LINK, PATH)
    assert decide_metadata_missing(INDEX, "demo", file, "why") == (MetadataMissing(INDEX, "demo", LINK.filename, "why"),)
    assert decide_metadata_missing(INDEX, "demo", attrs.evolve(file, metadata_missing=True), "why") == ()
    assert decide_metadata_missing(INDEX, "demo", None, "why") == ()


# Paths ---------------------------------------------------------------------------------------------------------------


def test_a_file_with_sha256_lies_under_its_digits() -> None:
    link = Link("demo-1.0.zip", "https://upstream.example/x", {"md5": "0" * 32, "sha256": "0123456789abcdef" * 4})
    assert file_path(link) == "+f/012/3456789abcdef/demo-1.0.zip"


@pytest.mark.parametrize("hashes", [{}, {"md5": "0" * 32}])
def test_a_file_without_sha256_lies_under_its_address(hashes: dict[str, str]) -> None:
    link = Link("x.zip", "http://upstream.example:8080/files/sub%20dir/x.zip", hashes)
    assert file_path(link) == "+e/http_upstream.example_8080_files_sub_20dir/x.zip"


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("https://upstream.example/x.zip", "https_upstream.example"),
        ("https://user:secret@upstream.example/a/x.zip", "https_upstream.example_a"),
        ("https://upstream.example/a/x.zip?token=1/2", "https_upstream.example_a"),
        ("https://[2001:db8::1]/a/../x.zip", "https__2001_db8__1__a_.."),
    ],
)
def test_directories_name_host_and_folder_and_no_secret(url: str, directory: str) -> None:
    assert external_directory(url) == directory


def test_long_directories_stay_short_and_different() -> None:
    one, two = (external_directory(f"https://upstream.example/{'a' * 500}{end}/x.zip") for end in "bc")
    assert one != two
    assert len(one) < 230


@given(st.from_regex(r"https?://[a-z.]{1,20}(:[0-9]{1,5})?/[!-~]*", fullmatch=True))
def test_any_address_gives_one_harmless_component(url: str) -> None:
    assert re.fullmatch(r"https?_[a-zA-Z0-9_.-]+", external_directory(url))
