"""What is found: own projects, mirrored ones that were used, documentation, names in lists; what is current, and for whom."""

from __future__ import annotations

import io
import os
import sqlite3
import zipfile

import pytest

from tests.fakes.wheels import make_wheel
from tests.search.search_setup import SearchWorld
from tests.web.web_world import MIRROR, link, sha256
from twistpi.blobs.address import blob_address
from twistpi.model.changes import IndexCreated, IndexDeleted, LinksChanged
from twistpi.model.releases import AttachmentAdded, AttachmentRemoved, ProjectMarked, ProjectRemoved
from twistpi.search.service import SearchService

DEV, PROD = "alice/dev", "alice/prod"
METADATA = b"Metadata-Version: 2.1\nName: Used.One\nVersion: 1.0\nSummary: It is fetched\nKeywords: remote\n\nA long story"


def add_docs(world: SearchWorld, version: str = "1.0", **pages: str) -> str:
    """Upload documentation of alice/dev's hello-world; returns its path."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, page in pages.items():
            file.writestr(f"{name}.html", page)
    body, filename = archive.getvalue(), f"hello-world-{version}.doc.zip"
    with world.blobs.incoming() as incoming:
        incoming.write(body)
        world.blobs.keep(incoming, blob_address(sha256(body), filename), sha256(body))
    path = f"+f/{sha256(body)[:3]}/{sha256(body)[3:16]}/{filename}"
    world.commit(AttachmentAdded(DEV, "hello-world", version, "doczip", filename, sha256(body), len(body), path))
    return path


@pytest.fixture
def hello(world: SearchWorld) -> SearchWorld:
    """Alice has a project."""
    world.add_stage(DEV)
    world.upload(
        DEV,
        "Hello.World",
        "1.0",
        {"summary": "Greets the planet", "keywords": "kind,polite", "author": "Alice Liddell", "description": "Curiouser"},
    )
    return world


@pytest.mark.parametrize(
    "query",
    [
        *("hello", "hello-world", "hello_world", "HelloWorld", "lowor", "name:hello.world", "greets", "plan", "'greets the'"),
        *("polite", "liddell", "curiou", "summary:greets", "type:project", "type:summary greets"),
        *("user:alice", "index:dev", "index:alice/dev", "path:/alice/dev/*", "path:/alice/dev/hello-world"),
        *("hello NOT goodbye", "NOT goodbye", "goodbye OR hello", "hello ANDMAYBE goodbye"),
    ],
)
def test_a_release_is_found_by_everything_that_describes_it(hello: SearchWorld, query: str) -> None:
    assert hello.found(query) == ["alice/dev/Hello.World"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "goodbye",
        "name:hello",
        "summary:hello",
        "type:summary hello",
        "hello NOT greets",
        "user:alic",
        "path:/alice/dev",
        "user:bob",
    ],
)
def test_nothing_else_is_found(hello: SearchWorld, query: str) -> None:
    assert hello.found(query) == []


def test_what_matched_is_marked(hello: SearchWorld) -> None:
    (hit,) = hello.search("low greet curious polite").hits
    assert [(piece.text, piece.is_match) for piece in hit.name_pieces] == [("Hel", False), ("lo.W", True), ("orld", False)]
    assert [piece.text for piece in hit.summary_pieces if piece.is_match] == ["Greets"]
    assert [(one.field, [piece.text for piece in one.pieces if piece.is_match]) for one in hit.excerpts] == [
        ("keywords", ["polite"]),
        ("description", ["Curiouser"]),
    ]


def test_the_newest_release_is_what_is_searched_until_it_is_removed(hello: SearchWorld) -> None:
    hello.upload(DEV, "Hello.World", "2.0", {"summary": "Salutes"})
    assert (hello.found("greets"), hello.found("salutes")) == ([], ["alice/dev/Hello.World"])
    assert hello.search("salutes").hits[0].version == "2.0"
    hello.commit(ProjectRemoved(DEV, "hello-world"))
    assert hello.found("hello") == []


def test_a_deleted_index_is_forgotten_and_a_new_one_of_its_name_is_not(hello: SearchWorld) -> None:
    hello.commit(IndexDeleted(DEV))
    hello.add_stage(DEV)
    hello.upload(DEV, "other", "1")
    assert (hello.found("hello"), hello.found("other")) == ([], ["alice/dev/other"])


def test_only_what_the_reader_may_read_is_found_and_counted(hello: SearchWorld) -> None:
    hello.add_stage(PROD)
    hello.upload(PROD, "hello-world", "3.0", {"summary": "Secret"})
    hello.upload(PROD, "hello-there", "1.0")
    page = hello.search("hello", DEV)
    assert ([hit.name for hit in page.hits], page.total, page.hits[0].summary) == (["Hello.World"], 1, "Greets the planet")
    assert [place.index for place in page.hits[0].locations] == [DEV]
    assert (hello.found("secret", DEV), hello.search("secret", DEV).total) == ([], 0)
    hello.set_names(MIRROR, "hello-list")
    assert hello.found("list", DEV) == []


def test_exact_names_come_first_then_own_projects_then_mirrored_ones_then_names(hello: SearchWorld) -> None:
    wheel = link("hello_used-1.0-py3-none-any.whl", b"x")
    hello.list_links("hello-used", [wheel])
    hello.cache_file("hello-used", wheel, b"x")
    hello.set_names(MIRROR, "hello", "hello-used", "hello-listed", "x-hello", "hello-world")
    page = hello.search("hello")
    assert [(hit.name, hit.kind) for hit in page.hits] == [
        ("hello", "listed"),
        ("Hello.World", "own"),
        ("hello-used", "mirrored"),
        ("hello-listed", "listed"),
        ("x-hello", "listed"),
    ]
    assert [(place.index, place.kind) for place in page.hits[1].locations] == [(DEV, "own"), (MIRROR, "listed")]
    assert (page.total, page.pages, page.is_complete) == (5, 1, True)
    assert [hit.name for hit in hello.search("hello", page=2, limit=2).hits] == ["hello-used", "hello-listed"]


def test_mirrored_projects_are_found_once_a_file_of_them_is_here(world: SearchWorld) -> None:
    wheel = link("used_one-1.0-py3-none-any.whl", b"x")
    world.list_links("used-one", [wheel])
    world.cache_metadata("used-one", wheel, METADATA)
    assert world.found("fetched") == []
    world.cache_file("used-one", wheel, b"x")
    (hit,) = world.search("fetched remote").hits
    assert (hit.name, hit.version, hit.kind, hit.summary) == ("Used.One", "1.0", "mirrored", "It is fetched")
    world.commit(LinksChanged(MIRROR, "used-one", versions_added=("1.0", "2.0", "3.0rc1")))
    assert world.search("used").hits[0].version == "2.0"


def test_a_wheel_that_is_here_tells_what_it_is(world: SearchWorld) -> None:
    body = make_wheel("used-one", "1.0", more=["Summary: It came without metadata"])
    wheel = link("used_one-1.0-py3-none-any.whl", body)
    world.list_links("used-one", [wheel])
    world.cache_file("used-one", wheel, body)
    assert world.found("without") == ["root/pypi/used-one"]


def test_metadata_that_comes_later_is_looked_for_again(world: SearchWorld) -> None:
    wheel = link("used_one-1.0-py3-none-any.whl", b"x")
    world.list_links("used-one", [wheel])
    world.cache_metadata("used-one", wheel, METADATA)
    address = next(
        path for folder, _, names in os.walk(world.folder) for name in names if (path := f"{folder}/{name}").endswith(".metadata")
    )
    os.rename(address, f"{address}-elsewhere")
    world.cache_file("used-one", wheel, b"x")
    assert (world.found("used"), world.found("fetched")) == (["root/pypi/used-one"], [])
    os.rename(f"{address}-elsewhere", address)
    world.settle(61)
    assert world.found("fetched") == ["root/pypi/Used.One"]


def test_the_pages_of_documentation_are_searched(hello: SearchWorld) -> None:
    path = add_docs(
        hello,
        index="<title>Start</title><p>Welcome to <b>wonder</b>land</p><script>var rabbit</script>",
        more="<title>About rabbits</title><p>They are late</p>",
    )
    (hit,) = hello.search("wonder").hits
    assert (hit.name, [(one.field, one.path, one.version) for one in hit.excerpts]) == (
        "Hello.World",
        [("page", "index.html", "1.0")],
    )
    assert [(one.field, one.path) for one in hello.search("rabbits").hits[0].excerpts] == [("title", "more.html")]
    assert (hello.found("type:page late"), hello.found("title:late"), hello.found("var")) == (["alice/dev/Hello.World"], [], [])
    hello.commit(ProjectMarked(DEV, "hello-world", "quarantined"))
    assert (hello.found("wonder"), hello.found("hello")) == ([], ["alice/dev/Hello.World"])
    hello.commit(ProjectMarked(DEV, "hello-world", None))
    assert hello.found("wonder") == ["alice/dev/Hello.World"]
    hello.commit(AttachmentRemoved(DEV, "hello-world", path))
    assert (hello.found("wonder"), hello.found("hello")) == ([], ["alice/dev/Hello.World"])


def test_a_list_takes_the_place_of_the_one_before(world: SearchWorld) -> None:
    world.set_names(MIRROR, "alpha", "beta-one", "gamma")
    assert [world.found(query) for query in ("lph", "betaone", "zz", "g")] == [
        ["root/pypi/alpha"],
        ["root/pypi/beta-one"],
        [],
        ["root/pypi/gamma"],
    ]
    world.set_names(MIRROR, "beta-one", "delta", identity="list-2")
    assert [world.found(query) for query in ("lph", "betaone", "delt")] == [[], ["root/pypi/beta-one"], ["root/pypi/delta"]]
    world.commit(IndexCreated("root/other", {"type": "mirror", "mirror_url": "https://other.example/simple/"}))
    world.set_names("root/other", "delta", "epsilon")
    assert [place.index for place in world.search("delta").hits[0].locations] == ["root/pypi", "root/other"]
    assert world.found("delta", "root/other") == ["root/other/delta"]
    assert world.indexer is not None
    world.indexer.list_changed(MIRROR, None)
    assert (world.found("beta"), world.found("delta"), world.found("epsilon")) == (
        [],
        ["root/other/delta"],
        ["root/other/epsilon"],
    )


def test_a_long_list_is_read_in_steps_and_replaced(world: SearchWorld) -> None:
    names = [f"project-{number:05}" for number in range(7_000)]
    world.set_names(MIRROR, *names)
    world.settle(3)
    assert world.found("project-06999") == ["root/pypi/project-06999"]
    assert (world.search("project").is_complete, world.search("project").total) == (False, 500)
    world.set_names(MIRROR, "aaa", *names[3:10], "zzz", identity="list-2")
    world.settle(3)
    assert [world.search(query).total for query in ("project", "aaa", "zzz", "06999")] == [7, 1, 1, 0]


def test_after_a_restart_nothing_is_read_again_unless_something_was_missed(hello: SearchWorld) -> None:
    hello.settle()
    hello.stop()
    with sqlite3.connect(hello.path) as connection:
        connection.execute("UPDATE document SET name = 'kept'")
    connection.close()
    hello.start()
    assert hello.found("hello") == ["alice/dev/kept"]
    hello.stop()
    hello.indexer = None
    hello.upload(DEV, "Missed", "1.0")
    hello.commit(ProjectRemoved(DEV, "hello-world"))
    hello.start()
    assert (hello.found("missed"), hello.found("hello")) == (["alice/dev/Missed"], [])


def test_the_index_of_another_log_or_a_damaged_one_is_made_anew(hello: SearchWorld) -> None:
    hello.settle()
    for damage in (lambda: _set_log(hello.path), lambda: _overwrite(hello.path)):
        hello.stop()
        damage()
        hello.start()
        assert hello.found("hello") == ["alice/dev/Hello.World"]


def test_a_file_that_is_damaged_while_it_is_read_is_no_failure(hello: SearchWorld) -> None:
    for number in range(200):
        hello.upload(DEV, f"hello-{number}", "1.0", {"summary": f"Number {number} of many", "description": "word " * 200})
    hello.settle(3)
    hello.stop()
    size = os.path.getsize(hello.path)
    with open(hello.path, "r+b") as file:
        file.seek(size // 4)
        file.write(b"\x55" * (size // 2))
    for query in ("hello", "number many", "word", "NOT hello"):
        assert SearchService(hello.path).search(query, lambda _: True).page == 1


def _set_log(path: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE stamp SET log_id = 'another'")
    connection.close()


def _overwrite(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"this is no database" * 1000)


def test_without_an_index_there_is_an_empty_page_that_says_so(world: SearchWorld) -> None:
    page = SearchService(f"{world.path}-not-there").search("hello", lambda _: True)
    assert (page.hits, page.total, page.is_building) == ((), 0, True)


def test_a_search_that_takes_too_long_ends_with_what_it_has(hello: SearchWorld) -> None:
    hello.set_names(MIRROR, *(f"hello-{number:05}" for number in range(20_000)))
    hello.settle(5)
    times = iter(range(1_000_000))
    page = SearchService(hello.path, lambda: next(times)).search("NOT goodbye", lambda _: True)
    assert not page.is_complete
    assert hello.search("NOT goodbye").total > 1


def test_nobody_else_may_read_the_file(world: SearchWorld) -> None:
    assert os.stat(world.path).st_mode & 0o077 == 0
