"""Which answers count as downloads, on every path that sends a file, and who is told of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, NOW, MakeWorld, World, at_once, link
from twistpi.model.releases import ProjectRemoved
from twistpi.rules.mirrors import file_path
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_tables import add_rows
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.recorder import Recorder
from twistpi.statistics.tally import Row, Tally

BODY = b"w" * 100_000
WHEEL, SMALL = link("demo-1.0-py3-none-any.whl", BODY), link("demo-1.0.tar.gz", b"small")
PIP = 'pip/24.0 {"python":"3.12.1"}'


@pytest.fixture
def world(make_world: MakeWorld, tmp_path: Path) -> World:
    """A server that counts, with an open mirror and the closed index ``corp/closed``, which alice may read."""
    file = StatisticsFile(str(tmp_path / "statistics.sqlite"))
    tally = Tally()
    recorder = Recorder(file, tally, Clock(), at_once, lambda: datetime.fromtimestamp(NOW, UTC), 90)
    world = make_world(downloads=Downloads(file, lambda: datetime.fromtimestamp(NOW, UTC), tally), recorder=recorder)
    for name in ("corp", "alice"):
        world.add_user(name, f"{name}-password")
    add_stage(world, "corp/closed", acl_read=["alice"])
    for index in (MIRROR, "corp/closed"):
        world.list_links("demo", [WHEEL, SMALL], index=index)
    return world


def taken(world: World) -> list[Row]:
    tally = world.components.downloads.tally
    assert tally is not None
    return tally.take()


def counted(number: int, filename: str = WHEEL.filename, index: str = MIRROR) -> list[Row]:
    return [(index, "demo", filename, "pip", "24.0", "3.12", number)] if number else []


@pytest.mark.parametrize("one", [WHEEL, SMALL])
def test_files_from_the_disk_count_on_both_paths(world: World, one: Any) -> None:
    path = world.cache_file("demo", one, BODY if one is WHEEL else b"small")
    fast, ordinary = Wire(world), Wire(world, fast=False)
    for wire in (fast, ordinary, fast, fast):
        assert wire.ask(path, user_agent=PIP).status == 200
    assert taken(world) == counted(4, one.filename)


@pytest.mark.parametrize(
    ("method", "headers", "number"),
    [
        ("GET", {"range": "bytes=0-9"}, 1),
        ("GET", {"range": "bytes=10-"}, 0),
        ("GET", {"range": "bytes=-10"}, 0),
        ("GET", {"range": "bytes=999999-"}, 0),
        ("GET", {"if_none_match": f'"{WHEEL.sha256}"'}, 0),
        ("HEAD", {}, 0),
        ("GET", {"accept": "application/json"}, 0),
    ],
)
@pytest.mark.parametrize("is_warm", [False, True])
def test_only_what_begins_with_the_first_byte_counts(
    world: World, method: str, headers: dict[str, str], number: int, is_warm: bool
) -> None:
    path = world.cache_file("demo", WHEEL, BODY)
    if is_warm:
        Wire(world).ask(path)
        taken(world)
    Wire(world).ask(path, method, user_agent=PIP, **headers)
    assert taken(world) == counted(number)


def test_a_file_that_is_fetched_meanwhile_counts_for_each_client(world: World) -> None:
    world.grow_file(WHEEL, len(BODY)).grow(BODY, end=True)
    for _ in range(2):
        assert Wire(world).ask(f"/{MIRROR}/{file_path(WHEEL)}", user_agent=PIP).status == 200
    assert taken(world) == counted(2)


def test_metadata_and_files_that_are_not_there_do_not_count(world: World) -> None:
    metadata = world.cache_metadata("demo", WHEEL, b"Metadata-Version: 2.1\n")
    for _ in range(2):
        assert Wire(world).ask(metadata).status == 200
    assert Wire(world).ask(f"/{MIRROR}/+f/000/0000000000000/demo-2.0.zip").status == 404
    assert taken(world) == []


def test_downloads_from_closed_indexes_count_there(world: World) -> None:
    path = world.cache_file("demo", WHEEL, BODY, "corp/closed")
    assert nobody(world).get(path).status == 401
    assert logged_in(world, "alice").get(path, accept="*/*", user_agent=PIP).status == 200
    assert taken(world) == counted(1, index="corp/closed")


@pytest.mark.parametrize(
    ("ending", "headers", "number"),
    [
        ("", {}, 1),
        ("", {"x_original_method": "GET", "x_original_range": "bytes=0-99"}, 1),
        ("", {"x_original_range": "bytes=100-"}, 0),
        ("", {"x_original_method": "HEAD"}, 0),
        (".metadata", {}, 0),
    ],
)
def test_what_a_web_server_in_front_sends_counts_when_it_asks(
    world: World, ending: str, headers: dict[str, str], number: int
) -> None:
    path = world.cache_file("demo", WHEEL, BODY) + ending
    world.cache_metadata("demo", WHEEL, b"Metadata-Version: 2.1\n")
    assert nobody(world).get("/+straight", x_original_uri=path, user_agent=PIP, **headers).status == 204
    assert taken(world) == counted(number)


def test_a_server_that_does_not_count_says_so(make_world: MakeWorld) -> None:
    world = make_world()
    world.list_links("demo", [WHEEL])
    assert Wire(world).ask(world.cache_file("demo", WHEEL, BODY)).status == 200
    answer = nobody(world).get("/+downloads")
    assert (answer.status, "no-downloads" in answer.body.decode()) == (404, True)


# What is told ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(world: World, tmp_path: Path) -> World:
    """Two downloads from the mirror, one from the closed index."""
    rows = [*counted(2), *counted(1, SMALL.filename, "corp/closed")]
    day = world.components.now().date().isoformat()
    StatisticsFile(str(tmp_path / "statistics.sqlite")).write(lambda connection: add_rows(connection, day, rows))
    return world


def total(person: Person, path: str) -> Any:
    answer = person.get(path)
    return answer.json()["result"]["total"] if answer.status == 200 else answer.status


def test_downloads_are_told_to_those_who_may_read_the_index(told: World) -> None:
    stranger, alice = nobody(told), logged_in(told, "alice")
    assert (total(stranger, "/+downloads"), total(alice, "/+downloads")) == (2, 3)
    for path in ("/corp/closed/+downloads", "/corp/closed/demo/+downloads"):
        assert (total(stranger, path), total(alice, path)) == (401, 1)
    assert total(stranger, f"/{MIRROR}/+downloads") == 2
    assert total(stranger, f"/{MIRROR}/Demo/+downloads") == 2
    assert total(stranger, f"/{MIRROR}/unknown/+downloads") == 404
    facts = stranger.get(f"/{MIRROR}/demo/+downloads").json()["result"]
    assert facts["by_file"] == {WHEEL.filename: 2}
    assert facts["by_version"] == {"1.0": 2}
    assert facts["by_installer"] == {"pip 24.0": 2}
    assert list(facts["by_day"].values()) == [2]
    assert stranger.get("/+downloads").json()["result"]["by_project"] == {f"{MIRROR}/demo": 2}


def test_the_first_page_names_the_most_downloaded_projects_that_its_reader_may_see(told: World) -> None:
    closed, open_ = 'href="/corp/closed/demo"', f'href="/{MIRROR}/demo"'
    for who, shown in ((nobody(told), [False, True]), (logged_in(told, "alice"), [True, True])):
        page = who.get("/", accept="text/html").content.decode()
        assert [link in page.partition("Most downloaded")[2] for link in (closed, open_)] == shown


def test_what_was_counted_just_now_is_told(told: World) -> None:
    path = told.cache_file("demo", WHEEL, BODY)
    Wire(told).ask(path)
    assert total(nobody(told), f"/{MIRROR}/demo/+downloads") == 3


def test_downloads_of_a_project_that_was_removed_are_told_to_nobody(told: World) -> None:
    told.commit(ProjectRemoved("corp/closed", "demo"))
    alice = logged_in(told, "alice")
    assert total(alice, "/corp/closed/demo/+downloads") == 404
    assert alice.get("/corp/closed/+downloads").json()["result"]["by_project"] == {}
    assert "demo" not in alice.get("/corp/closed/+downloads?format=csv").body.decode()


@pytest.mark.parametrize("how", [{"accept": "text/csv"}, {}])
def test_downloads_are_told_as_a_table_too(told: World, how: dict[str, str]) -> None:
    answer = nobody(told).get(f"/{MIRROR}/demo/+downloads" + ("" if how else "?format=csv"), **how)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    day = told.components.now().date().isoformat()
    assert answer.body.decode().splitlines() == [
        "day,index,project,version,file,installer,installer_version,python,downloads",
        f"{day},{MIRROR},demo,1.0,{WHEEL.filename},pip,24.0,3.12,2",
    ]


@pytest.mark.parametrize("query", ["days=0", "days=x", "days=99999", "format=xml", "days=%C2%B2"])
def test_questions_that_cannot_be_understood_are_refused(told: World, query: str) -> None:
    assert nobody(told).get(f"/+downloads?{query}").status == 400
