"""What each change does to the view, told one by one."""

from __future__ import annotations

from itertools import chain
from typing import Any

import attrs
import pytest

from tests.view.small_world import (
    AT,
    DIGESTS,
    FILENAMES,
    INDEX,
    TWIN,
    cached,
    changed,
    fold,
    kept_blobs,
    link,
    listed,
    removed,
)
from twistpi.model.changes import (
    Change,
    Entry,
    FileCached,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    LogStarted,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
    TokenCreated,
    TokenRevoked,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.model.records import ApiToken, Index, KnownFile, KnownProject, Link, PageHeader, User
from twistpi.model.server_errors import MalformedChange
from twistpi.rules.mirrors import file_path
from twistpi.view.database import ViewDatabase

WHEEL, SDIST = FILENAMES[:2]
SECOND = "2026-11-22T17:00:00Z"
"""``AT`` as users and tokens show it."""


def known(view: ViewDatabase, project: str = "demo") -> KnownProject:
    found = view.reader.project(INDEX, project)
    assert found is not None
    return found


def at_path(view: ViewDatabase, link: Link) -> KnownFile:
    found = view.reader.file_by_path(INDEX, file_path(link))
    assert found is not None
    return found[1]


def metadata(digest: str = DIGESTS[2], path: str | None = None) -> MetadataCached:
    return MetadataCached(INDEX, "demo", WHEEL, digest, 7, path)


def metadata_missing(path: str | None = None) -> MetadataMissing:
    return MetadataMissing(INDEX, "demo", WHEEL, "no such member", path)


# Users and indexes -------------------------------------------------------------------------------------------------


def test_users_and_indexes_are_kept_with_their_configuration(view: ViewDatabase) -> None:
    fold(view, LogStarted("a" * 32), UserCreated("root", {"email": "r@example"}), IndexCreated(INDEX, {"type": "mirror"}))
    assert view.reader.users() == [User("root", {"email": "r@example"}, "", SECOND)]
    assert view.reader.indexes() == [Index(INDEX, {"type": "mirror"})]
    assert view.reader.index(INDEX) == Index(INDEX, {"type": "mirror"})
    assert view.reader.index("root/none") is None


def test_a_modified_index_differs_in_what_was_said(view: ViewDatabase) -> None:
    fold(view, IndexCreated(INDEX, {"type": "mirror", "title": "old", "volatile": False}))
    fold(view, IndexModified(INDEX, {"title": "new", "bases": []}, ("volatile", "never there")))
    assert view.reader.index(INDEX) == Index(INDEX, {"type": "mirror", "title": "new", "bases": []})


def test_a_modified_user_has_another_password_or_keeps_it_and_no_password_is_not_a_blank_one(view: ViewDatabase) -> None:
    fold(view, UserCreated("alice", {"email": "a@example", "title": "old"}, "hash"))
    for change, password in (
        (UserModified("alice", {"title": "new"}, ("email",)), "hash"),
        (UserModified("alice", password_hash="other"), "other"),
        (UserModified("alice", password_hash=""), ""),
    ):
        fold(view, change)
        assert view.reader.user("alice") == User("alice", {"title": "new"}, password, SECOND, SECOND)
    fold(view, UserCreated("nobody", {}, None), UserCreated("blank"))
    assert [user.password_hash for user in view.reader.users()] == ["", "", None]


def test_an_imported_user_has_the_times_that_it_had_before(view: ViewDatabase) -> None:
    fold(view, UserCreated("alice", {}, None, "2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z"))
    assert view.reader.user("alice") == User("alice", {}, None, "2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z")


def test_modifying_who_or_what_is_unknown_says_nothing(view: ViewDatabase) -> None:
    fold(view, UserModified("nobody", {"title": "x"}, (), "hash"), IndexModified("no/body", {"title": "x"}))
    assert (view.reader.users(), view.reader.indexes()) == ([], [])


def test_the_indexes_of_a_user_are_not_those_of_a_namesake(view: ViewDatabase) -> None:
    fold(view, *(IndexCreated(name, {}) for name in ("al/dev", "alice/dev", "alice/prod", "alice.b/dev", "alicf/dev")))
    assert [index.name for index in view.reader.indexes_of("alice")] == ["alice/dev", "alice/prod"]


def test_the_indexes_that_may_name_a_user_are_found_by_their_settings(view: ViewDatabase) -> None:
    fold(view, IndexCreated("a/x", {"bases": ["jürgen/dev"]}), IndexCreated("a/y", {"acl_read": ["jürgen"]}))
    fold(view, IndexCreated("a/z", {"title": "of jürgen", "acl_read": ["x-jürgen"]}))
    assert [index.name for index in view.reader.indexes_naming("jürgen")] == ["a/x", "a/y"]


def test_a_deleted_index_leaves_nothing_and_takes_nothing_from_others(view: ViewDatabase) -> None:
    others: list[Change] = [
        IndexCreated("root/other", {}),
        LinksChanged("root/other", "demo", (link(),), versions_added=("1.0",)),
    ]
    fold(view, IndexCreated(INDEX, {}), *others, LinksChanged(INDEX, "demo", (link(),), versions_added=("1.0",)))
    fold(view, FileCached(INDEX, "demo", WHEEL, DIGESTS[0], 1), FileCached("root/other", "demo", WHEEL, DIGESTS[0], 1))
    before = view.reader.project("root/other", "demo")
    fold(view, IndexDeleted(INDEX))
    assert view.reader.index(INDEX) is None
    assert view.reader.project(INDEX, "demo") is None
    assert view.reader.projects(INDEX) == []
    assert view.reader.project("root/other", "demo") == before
    fold(view, IndexCreated(INDEX, {}), LinksChanged(INDEX, "demo", (link(),)))
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    assert [(file.link, file.cached) for file in known.files] == [(link(), False)]
    assert known.versions == ()


# API tokens --------------------------------------------------------------------------------------------------------


def test_an_api_token_is_known_until_it_is_revoked(view: ViewDatabase) -> None:
    fold(view, TokenCreated("a" * 16, "alice", "d" * 64, ("read", "upload"), INDEX, "demo", "2027-01-01T00:00:00Z", "for CI"))
    token = ApiToken("a" * 16, "alice", "d" * 64, ("read", "upload"), INDEX, "demo", "2027-01-01T00:00:00Z", "for CI", SECOND)
    assert view.reader.api_token("a" * 16) == token
    assert view.reader.api_tokens("alice") == [token]
    assert view.reader.api_tokens("bob") == []
    fold(view, TokenRevoked("a" * 16))
    assert view.reader.api_token("a" * 16) is None


@pytest.mark.parametrize("gone", [IndexDeleted(INDEX), UserDeleted("alice")])
def test_api_tokens_go_with_their_user_and_with_the_one_index_they_are_good_for(view: ViewDatabase, gone: Change) -> None:
    fold(view, TokenCreated("a" * 16, "alice", "d" * 64, ("read",), INDEX), TokenCreated("b" * 16, "bob", "d" * 64, ("read",)))
    fold(view, UserCreated("alice"), UserCreated("bob"), IndexCreated(INDEX, {}))
    fold(view, gone)
    assert view.reader.api_token("a" * 16) is None
    assert view.reader.api_token("b" * 16) is not None


# Links -------------------------------------------------------------------------------------------------------------


def test_every_field_of_a_link_comes_back_as_it_was(view: ViewDatabase) -> None:
    links = (
        Link(
            WHEEL, "https://one.example/x", {"sha256": DIGESTS[0]}, 5, ">=3.9", "2026-11-22T17:00:00Z", "broken",
            {"sha256": "ab"}, "https://one.example/p", {"data-x": [1, None, "ü"]},
        ),
        Link(SDIST, "https://one.example/y", {"md5": "0" * 32, "sha256": DIGESTS[1]}, 0, "", "", True, False),
        Link("demo-3.zip", "https://one.example/z"),
        Link("demo-4.zip", "https://one.example/z", {"md5": "1" * 32}, yanked="", core_metadata=True),
    )  # fmt: skip
    fold(view, listed(*links, versions_added=("1.0", "2.0"), header=PageHeader("archived", "old", 7, {"x": [1]})))
    assert [file.link for file in known(view).files] == list(links)
    assert known(view) == KnownProject(
        INDEX,
        "demo",
        tuple(KnownFile(link, file_path(link)) for link in links),
        ("1.0", "2.0"),
        PageHeader("archived", "old", 7, {"x": [1]}),
    )


def test_a_changed_link_keeps_what_is_cached_of_its_file_bytes_and_metadata(view: ViewDatabase) -> None:
    fold(view, listed(link()), cached(), metadata())
    new = link(yanked="bad", size=9)
    fold(view, changed(new))
    assert known(view).files == (KnownFile(new, file_path(new), DIGESTS[0], 5, DIGESTS[2], 7),)


def test_versions_and_header_change_by_differences(view: ViewDatabase) -> None:
    fold(view, listed(versions_added=("1", "2"), header=PageHeader("archived")))
    fold(view, listed(versions_added=("2", "3"), versions_removed=("1", "9")))
    assert (known(view).versions, known(view).header) == (("2", "3"), PageHeader("archived"))
    fold(view, listed(header=PageHeader()))
    assert known(view).header == PageHeader()


def test_a_change_that_names_a_file_twice_means_its_last_word(view: ViewDatabase) -> None:
    fold(view, LinksChanged(INDEX, "demo", (link(sha256=DIGESTS[0]),), (link(sha256=DIGESTS[1]),)))
    assert [file.link.sha256 for file in known(view).files] == [DIGESTS[1]]


def test_projects_of_other_indexes_are_other_projects(view: ViewDatabase) -> None:
    fold(view, listed(link()), LinksChanged("alice/mirror", "demo", (link(), link(SDIST))), cached())
    other = view.reader.project("alice/mirror", "demo")
    assert other is not None
    assert [file.cached for file in other.files] == [False, False]
    assert [file.cached for file in known(view).files] == [True]


# Links that go, come back, and are of other bytes -------------------------------------------------------------------

OLD, NEW, BARE = link(), link(sha256=DIGESTS[1]), link(sha256=None)
MOVED = attrs.evolve(BARE, url="https://one.example/b/x")
"""Without a digest another folder is another path."""
GONE = ProjectVanished(INDEX, "demo")


def uncached(link: Link) -> KnownFile:
    return KnownFile(link, file_path(link))


def gone(link: Link) -> KnownFile:
    return attrs.evolve(uncached(link), vanished=True)


def here(link: Link, vanished: bool = False) -> KnownFile:
    """A file whose bytes are here, and nothing else of it."""
    return KnownFile(link, file_path(link), DIGESTS[0], 5, vanished=vanished)


def whole(link: Link) -> KnownFile:
    """A vanished file that is here with its metadata."""
    return KnownFile(link, file_path(link), DIGESTS[0], 5, DIGESTS[2], 7, vanished=True)


HISTORIES: dict[str, Any] = {
    "a removed file that is cached stays marked": (
        [listed(OLD, link(SDIST)), cached(), removed(WHEEL, SDIST)],
        [here(OLD, True)],
    ),
    "a removed file that is not cached is hidden but its path leads to it": ([listed(OLD), removed(WHEEL)], [], [gone(OLD)]),
    "a hidden file shows when somebody with a lock file had it cached": (
        [listed(OLD), removed(WHEEL), cached()],
        [here(OLD, True)],
    ),
    "a vanished file that is added is listed again": ([listed(OLD), cached(), removed(WHEEL), listed(OLD)], [here(OLD)]),
    "a vanished file that is changed is listed again": ([listed(OLD), cached(), removed(WHEEL), changed(OLD)], [here(OLD)]),
    "a vanished project keeps its cached files marked": (
        [listed(OLD, link(SDIST)), cached(), GONE],
        [here(OLD, True)],
        [gone(link(SDIST))],
    ),
    "any news of links brings a vanished project back": (
        [listed(OLD, link(SDIST)), GONE, LinksChanged(INDEX, "demo")],
        [uncached(OLD), uncached(link(SDIST))],
    ),
    "another digest is another file and the old path keeps the old bytes": (
        [listed(OLD), cached(), metadata(), changed(NEW)],
        [uncached(NEW)],
        [whole(OLD)],
    ),
    "a replaced file can be cached by its path or its digest": (
        [listed(OLD), changed(NEW), cached(sha256=DIGESTS[0]), metadata(path=file_path(OLD))],
        [uncached(NEW)],
        [whole(OLD)],
    ),
    "a replaced file is listed again when its upstream takes it back": (
        [listed(OLD), cached(), changed(NEW), changed(OLD)],
        [here(OLD)],
        [gone(NEW)],
    ),
    "removing a name leaves a replaced file of that name alone": (
        [listed(OLD), cached(), changed(NEW), removed(WHEEL)],
        [],
        [here(OLD, True)],
    ),
    "two digests with the same sixteen digits are not the same bytes": (
        [listed(OLD), cached(), metadata(), changed(link(sha256=TWIN))],
        [uncached(link(sha256=TWIN))],
    ),
    "bytes with the same sixteen digits are not those of a file": (
        [listed(OLD), changed(link(sha256=TWIN)), cached(sha256=DIGESTS[0])],
        [uncached(link(sha256=TWIN))],
    ),
    "a file without digest is cached under its own": ([listed(BARE), cached()], [here(BARE)]),
    "a link that gains the digest of its cached bytes keeps them under both paths": (
        [listed(BARE), cached(), changed(OLD)],
        [here(OLD)],
        [here(BARE, True)],
    ),
    "a link that gains another digest has no bytes here": (
        [listed(BARE), cached(), changed(NEW)],
        [uncached(NEW)],
        [here(BARE, True)],
    ),
    "another folder is another path and the old one keeps the old bytes": (
        [listed(BARE), cached(), changed(MOVED)],
        [uncached(MOVED)],
        [here(BARE, True)],
    ),
    "a replaced file without digest is cached by its path alone": (
        [listed(BARE), changed(MOVED), cached(path=file_path(BARE)), metadata_missing(path=file_path(BARE))],
        [uncached(MOVED)],
        [attrs.evolve(here(BARE, True), metadata_missing=True)],
    ),
}
"""Changes, the files of the project after them, and others to which their paths lead."""


@pytest.mark.parametrize("told", HISTORIES)
def test_what_is_shown_of_a_project_and_to_what_else_paths_lead(view: ViewDatabase, told: str) -> None:
    changes, files, *others = HISTORIES[told]
    for change in changes:
        fold(view, change)
    assert known(view).files == tuple(files)
    assert known(view).vanished is (changes[-1] == GONE)
    assert view.reader.header(INDEX, "demo") == (None, changes[-1] == GONE)
    for file in chain(*others):
        assert at_path(view, file.link) == file


def test_a_project_that_never_was_does_not_vanish(view: ViewDatabase) -> None:
    fold(view, GONE)
    assert view.reader.project(INDEX, "demo") is None


@pytest.mark.parametrize(
    ("before", "after", "stays"),
    [
        ({"hashes": {"md5": "0" * 32}}, {"hashes": {"md5": "1" * 32}}, False),
        ({"hashes": {"md5": "0" * 32}}, {"hashes": {"md5": "0" * 32, "blake2b": "1"}}, True),
        ({"hashes": {}}, {"hashes": {"md5": "1" * 32}}, True),
        ({"hashes": {"md5": "1" * 32}}, {"hashes": {}}, True),
        ({}, {"size": 5}, True),
        ({}, {"size": 6}, False),
        ({"size": 5}, {}, True),
    ],
)
def test_cached_bytes_go_when_a_link_without_sha256_contradicts_them(
    view: ViewDatabase, before: dict[str, Any], after: dict[str, Any], stays: bool
) -> None:
    fold(view, listed(link(sha256=None, **before)), cached(size=5), metadata())
    fold(view, changed(link(sha256=None, **after)))
    assert known(view).files[0].cached is stays
    assert (known(view).files[0].metadata_sha256 is not None) is stays


# What is here -------------------------------------------------------------------------------------------------------


def test_metadata_is_cached_found_missing_and_found_again(view: ViewDatabase) -> None:
    fold(view, listed(link()))
    for change, missing in ((metadata_missing(), True), (metadata(), False), (metadata_missing(), True)):
        fold(view, change)
        file = known(view).files[0]
        assert (file.metadata_missing, file.metadata_sha256) == (missing, None if missing else DIGESTS[2])


def test_an_upstream_that_says_something_new_about_metadata_is_asked_again(view: ViewDatabase) -> None:
    fold(view, listed(link()), metadata_missing(), changed(link(yanked=True)))
    assert known(view).files[0].metadata_missing
    fold(view, changed(link(core_metadata=True)))
    assert not known(view).files[0].metadata_missing


@pytest.mark.parametrize(
    "change", [cached(), metadata(), metadata_missing(), cached(path="+f/no/where/x"), metadata(path="+f/no/where/x")]
)
def test_news_of_a_file_that_was_never_listed_say_nothing(view: ViewDatabase, change: MetadataCached | MetadataMissing) -> None:
    fold(view, change)
    assert view.reader.project(INDEX, "demo") is None
    fold(view, listed(link(SDIST)), change)
    assert known(view).files == (KnownFile(link(SDIST), file_path(link(SDIST))),)
    assert kept_blobs(view.reader) == []


@pytest.mark.parametrize("count", [1, 19, 20, 21, 65])
def test_however_many_files_a_project_has_they_stay_in_the_order_in_which_they_were_first_listed(
    view: ViewDatabase, count: int
) -> None:
    links = [link(f"demo-{number}.zip", None, size=number) for number in range(count, 0, -1)]
    fold(view, listed(*links))
    assert [file.link for file in known(view).files] == links
    # An absurd size counts as unknown.
    fold(view, listed(link("a-1.zip", size=2**63), link("m-1.zip", size=-(2**70))), changed(attrs.evolve(links[0], yanked=True)))
    assert [file.link.filename for file in known(view).files] == [*(one.filename for one in links), "a-1.zip", "m-1.zip"]
    assert [file.link.size for file in known(view).files[-2:]] == [None, None]


# Totality -----------------------------------------------------------------------------------------------------------


def test_an_unknown_kind_of_change_stops_whoever_folds(view: ViewDatabase) -> None:
    @attrs.frozen
    class FileTeleported:
        where: str

    view.begin()
    with pytest.raises(MalformedChange, match="FileTeleported"):
        view.apply(Entry(1, AT, "root", (FileTeleported("away"),)))  # type: ignore[arg-type]
    view.rollback()
