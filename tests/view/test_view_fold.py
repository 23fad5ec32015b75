"""What each change does to the view, told one by one."""

from __future__ import annotations

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


def test_modifying_an_unknown_index_says_nothing(view: ViewDatabase) -> None:
    fold(view, IndexModified("no/body", {"title": "x"}))
    assert view.reader.indexes() == []


def test_a_modified_user_has_another_password_or_keeps_it(view: ViewDatabase) -> None:
    fold(view, UserCreated("alice", {"email": "a@example", "title": "old"}, "hash"))
    fold(view, UserModified("alice", {"title": "new"}, ("email",)))
    assert view.reader.user("alice") == User("alice", {"title": "new"}, "hash", SECOND, SECOND)
    fold(view, UserModified("alice", password_hash="other"))
    assert view.reader.user("alice") == User("alice", {"title": "new"}, "other", SECOND, SECOND)
    fold(view, UserModified("alice", password_hash=""))
    assert view.reader.user("alice") == User("alice", {"title": "new"}, "", SECOND, SECOND)


def test_a_user_without_a_password_is_not_one_with_a_blank_one(view: ViewDatabase) -> None:
    fold(view, UserCreated("nobody", {}, None), UserCreated("blank"))
    assert [user.password_hash for user in view.reader.users()] == ["", None]


def test_modifying_an_unknown_user_says_nothing(view: ViewDatabase) -> None:
    fold(view, UserModified("nobody", {"title": "x"}, (), "hash"))
    assert view.reader.users() == []


def test_the_indexes_of_a_user_are_not_those_of_a_namesake(view: ViewDatabase) -> None:
    fold(view, *(IndexCreated(name, {}) for name in ("al/dev", "alice/dev", "alice/prod", "alice.b/dev", "alicf/dev")))
    assert [index.name for index in view.reader.indexes_of("alice")] == ["alice/dev", "alice/prod"]


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


def test_absurd_sizes_count_as_unknown(view: ViewDatabase) -> None:
    fold(view, listed(link(size=2**63), link(SDIST, size=-(2**70))))
    assert [file.link.size for file in known(view).files] == [None, None]


def test_files_stay_in_the_order_in_which_they_were_first_listed(view: ViewDatabase) -> None:
    fold(view, listed(link("z-1.zip"), link("a-1.zip")))
    fold(view, listed(link("m-1.zip")), changed(link("z-1.zip", yanked=True)))
    assert [file.link.filename for file in known(view).files] == ["z-1.zip", "a-1.zip", "m-1.zip"]


def test_a_changed_link_keeps_what_is_cached_of_its_file(view: ViewDatabase) -> None:
    fold(view, listed(link()), cached(), metadata())
    fold(view, changed(link(yanked="bad", size=9)))
    assert known(view).files == (
        KnownFile(link(yanked="bad", size=9), file_path(link()), DIGESTS[0], 5, DIGESTS[2], 7),
    )  # fmt: skip


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


# Links that go, and come back ---------------------------------------------------------------------------------------


def test_a_removed_file_that_is_cached_stays_marked(view: ViewDatabase) -> None:
    fold(view, listed(link(), link(SDIST)), cached(), removed(WHEEL, SDIST))
    assert [(file.link.filename, file.vanished) for file in known(view).files] == [(WHEEL, True)]


def test_a_removed_file_that_is_not_cached_is_hidden_but_its_path_leads_to_it(view: ViewDatabase) -> None:
    fold(view, listed(link()), removed(WHEEL))
    assert known(view).files == ()
    assert attrs.astuple(at_path(view, link()), recurse=False)[-1] is True


def test_a_hidden_file_shows_when_somebody_with_a_lock_file_had_it_cached(view: ViewDatabase) -> None:
    fold(view, listed(link()), removed(WHEEL), cached())
    assert [(file.cached, file.vanished) for file in known(view).files] == [(True, True)]


@pytest.mark.parametrize("back", [listed(link()), changed(link())])
def test_a_vanished_file_that_comes_back_is_listed_again(view: ViewDatabase, back: LinksChanged) -> None:
    fold(view, listed(link()), cached(), removed(WHEEL), back)
    assert [(file.cached, file.vanished) for file in known(view).files] == [(True, False)]


def test_a_vanished_project_keeps_its_cached_files_marked(view: ViewDatabase) -> None:
    fold(view, listed(link(), link(SDIST)), cached(), ProjectVanished(INDEX, "demo"))
    assert known(view).vanished
    assert [(file.link.filename, file.vanished) for file in known(view).files] == [(WHEEL, True)]
    assert at_path(view, link(SDIST)).vanished
    assert view.reader.header(INDEX, "demo") == (None, True)


def test_any_news_of_links_brings_a_vanished_project_back_also_after_a_restart(view: ViewDatabase) -> None:
    fold(view, listed(link(), link(SDIST)), ProjectVanished(INDEX, "demo"))
    view.rollback()  # forgets what was remembered, as a new process does
    fold(view, LinksChanged(INDEX, "demo"))
    assert not known(view).vanished
    assert [file.vanished for file in known(view).files] == [False, False]


def test_a_project_that_never_was_does_not_vanish(view: ViewDatabase) -> None:
    fold(view, ProjectVanished(INDEX, "demo"))
    assert view.reader.project(INDEX, "demo") is None


# Other bytes under the same name ------------------------------------------------------------------------------------


def test_another_digest_is_another_file_and_the_old_path_keeps_the_old_bytes(view: ViewDatabase) -> None:
    old, new = link(sha256=DIGESTS[0]), link(sha256=DIGESTS[1])
    fold(view, listed(old), cached(), metadata(), changed(new))
    assert known(view).files == (KnownFile(new, file_path(new)),)
    assert at_path(view, old) == KnownFile(old, file_path(old), DIGESTS[0], 5, DIGESTS[2], 7, vanished=True)


def test_a_replaced_file_can_be_cached_by_its_path_or_its_digest(view: ViewDatabase) -> None:
    old, new = link(sha256=DIGESTS[0]), link(sha256=DIGESTS[1])
    fold(view, listed(old), changed(new), cached(sha256=DIGESTS[0]), metadata(path=file_path(old)))
    assert (at_path(view, old).sha256, at_path(view, old).metadata_sha256) == (DIGESTS[0], DIGESTS[2])
    assert known(view).files == (KnownFile(new, file_path(new)),)


def test_a_replaced_file_is_listed_again_when_its_upstream_takes_it_back(view: ViewDatabase) -> None:
    old, new = link(sha256=DIGESTS[0]), link(sha256=DIGESTS[1])
    fold(view, listed(old), cached(), changed(new), changed(old))
    assert known(view).files == (KnownFile(old, file_path(old), DIGESTS[0], 5),)
    assert at_path(view, new).vanished


def test_removing_a_name_leaves_a_replaced_file_of_that_name_alone(view: ViewDatabase) -> None:
    old, new = link(sha256=DIGESTS[0]), link(sha256=DIGESTS[1])
    fold(view, listed(old), cached(), changed(new), removed(WHEEL))
    assert known(view).files == ()
    assert at_path(view, old).cached


def test_two_digests_with_the_same_sixteen_digits_are_not_the_same_bytes(view: ViewDatabase) -> None:
    fold(view, listed(link()), cached(), metadata(), changed(link(sha256=TWIN)))
    assert known(view).files == (KnownFile(link(sha256=TWIN), file_path(link())),)
    fold(view, cached(sha256=DIGESTS[0]))
    assert not known(view).files[0].cached


# Files without SHA-256 ----------------------------------------------------------------------------------------------


def test_a_file_without_digest_is_cached_under_its_own(view: ViewDatabase) -> None:
    bare = link(sha256=None)
    fold(view, listed(bare), cached())
    assert known(view).files == (KnownFile(bare, file_path(bare), DIGESTS[0], 5),)
    assert file_path(bare).startswith("+e/")


def test_a_link_that_gains_the_digest_of_its_cached_bytes_keeps_them_under_both_paths(view: ViewDatabase) -> None:
    bare = link(sha256=None)
    fold(view, listed(bare), cached(), changed(link()))
    assert known(view).files == (KnownFile(link(), file_path(link()), DIGESTS[0], 5),)
    assert at_path(view, bare).sha256 == DIGESTS[0]


def test_a_link_that_gains_another_digest_has_no_bytes_here(view: ViewDatabase) -> None:
    fold(view, listed(link(sha256=None)), cached(), changed(link(sha256=DIGESTS[1])))
    assert not known(view).files[0].cached


def test_another_folder_is_another_path_and_the_old_one_keeps_the_old_bytes(view: ViewDatabase) -> None:
    old = link(sha256=None)
    new = attrs.evolve(old, url="https://one.example/b/x")
    fold(view, listed(old), cached(), changed(new))
    assert known(view).files == (KnownFile(new, file_path(new)),)
    assert at_path(view, old).cached


def test_a_replaced_file_without_digest_is_cached_by_its_path_alone(view: ViewDatabase) -> None:
    old = link(sha256=None)
    new = attrs.evolve(old, url="https://one.example/b/x")
    fold(view, listed(old), changed(new), cached(path=file_path(old)), metadata_missing(path=file_path(old)))
    assert (at_path(view, old).sha256, at_path(view, old).metadata_missing) == (DIGESTS[0], True)
    assert known(view).files == (KnownFile(new, file_path(new)),)


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
    fold(view, listed(link()), metadata_missing())
    assert (known(view).files[0].metadata_missing, known(view).files[0].metadata_sha256) == (True, None)
    fold(view, metadata())
    assert (known(view).files[0].metadata_missing, known(view).files[0].metadata_sha256) == (False, DIGESTS[2])
    fold(view, metadata_missing())
    assert (known(view).files[0].metadata_missing, known(view).files[0].metadata_sha256) == (True, None)


def test_an_upstream_that_says_something_new_about_metadata_is_asked_again(view: ViewDatabase) -> None:
    fold(view, listed(link()), metadata_missing(), changed(link(yanked=True)))
    assert known(view).files[0].metadata_missing
    fold(view, changed(link(core_metadata=True)))
    assert not known(view).files[0].metadata_missing


def test_metadata_does_not_touch_the_bytes_nor_they_it(view: ViewDatabase) -> None:
    fold(view, listed(link()), metadata(), cached())
    assert known(view).files[0] == KnownFile(link(), file_path(link()), DIGESTS[0], 5, DIGESTS[2], 7)


@pytest.mark.parametrize(
    "change", [cached(), metadata(), metadata_missing(), cached(path="+f/no/where/x"), metadata(path="+f/no/where/x")]
)
def test_news_of_a_file_that_was_never_listed_say_nothing(view: ViewDatabase, change: MetadataCached | MetadataMissing) -> None:
    fold(view, change)
    assert view.reader.project(INDEX, "demo") is None
    fold(view, listed(link(SDIST)), change)
    assert known(view).files == (KnownFile(link(SDIST), file_path(link(SDIST))),)
    assert list(view.reader.kept_blobs()) == []


@pytest.mark.parametrize("count", [1, 19, 20, 21, 65])
def test_however_many_files_a_new_project_has_they_keep_their_order(view: ViewDatabase, count: int) -> None:
    links = [link(f"demo-{number}.zip", None, size=number) for number in range(count, 0, -1)]
    fold(view, listed(*links))
    assert [file.link for file in known(view).files] == links


# Totality -----------------------------------------------------------------------------------------------------------


def test_an_unknown_kind_of_change_stops_whoever_folds(view: ViewDatabase) -> None:
    @attrs.frozen
    class FileTeleported:
        where: str

    view.begin()
    with pytest.raises(MalformedChange, match="FileTeleported"):
        view.apply(Entry(1, AT, "root", (FileTeleported("away"),)))  # type: ignore[arg-type]
    view.rollback()
