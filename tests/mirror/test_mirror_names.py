"""Name lists: fetched on demand, and made into pages in small steps."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from twisted.internet.defer import fail, gatherResults

from tests.fakes.upstream import HTML, JSON, CutOff, Document, FakeUpstream, Fault, Garbage, Held, Silent, Status, WrongBody
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import Setup, offload, pause, reactor, start
from twistpi.mirror.name_source import UpstreamNames
from twistpi.mirror.name_store import home_of
from twistpi.mirror.names import NameList, NameLists
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable
from twistpi.model.server_errors import StorageFull

LIST = "/simple/"
NAMES = ["Zope.Interface", "twisted", "klein", "twisted-web"]
NORMAL = {"zope-interface", "twisted", "klein", "twisted-web"}


def json_names(found: NameList) -> set[str]:
    """The names on the JSON page."""
    page = json.loads(Path(found.folder, "page.json").read_bytes())
    return {project["name"] for project in page["projects"]}


@pytest.mark.parametrize("form", ["json", "html"])
@in_reactor
async def test_R36_the_list_is_made_into_every_page(setup: Setup, form: str) -> None:
    setup.fake.set_names(NAMES, form)
    found = await setup.names.ensure(setup.index)
    assert (found.kind, found.count) == ("miss", 4)
    assert json_names(found) == NORMAL
    html = Path(found.folder, "page.html").read_bytes()
    assert all(f">{name}</a>".encode() in html for name in NORMAL)
    for name in ("page.json", "page.html"):
        assert gzip.decompress(Path(found.folder, f"{name}.gz").read_bytes()) == Path(found.folder, name).read_bytes()
    assert len(set(found.etags.values())) == 4
    assert all(tag.startswith('"') for tag in found.etags.values())
    assert sorted(os.listdir(found.folder)) == ["names.txt", "page.html", "page.html.gz", "page.json", "page.json.gz"]


@in_reactor
async def test_R36_names_are_listed_once_in_alphabetical_order_with_the_upstreams_serials(setup: Setup) -> None:
    names = [f"Project-{(number * 7919) % 25_000:05d}" for number in range(25_000)]
    listed: list[dict[str, Any]] = [
        {"name": name, "_last-serial": number + 1} for number, name in enumerate([*names, names[3], names[3].lower()])
    ]
    body = orjson.dumps({"meta": {"api-version": "1.1", "_last-serial": 9}, "projects": listed})
    setup.fake.documents[LIST] = Document(body, JSON, compress=True)
    found = await setup.names.ensure(setup.index)
    page = orjson.loads(Path(found.folder, "page.json").read_bytes())
    assert page["meta"]["_last-serial"] == 9
    assert [project["name"] for project in page["projects"]] == sorted(name.lower() for name in names)
    assert {(project["name"], project["_last-serial"]) for project in page["projects"]} <= {
        (entry["name"].lower(), entry["_last-serial"]) for entry in listed
    }
    assert Path(found.folder, "names.txt").read_text().split() == sorted(name.lower() for name in names)
    del listed[0]["_last-serial"]
    setup.fake.documents[LIST] = Document(orjson.dumps({"projects": listed}), JSON)
    again = await setup.names.ensure(setup.index, force=True)
    assert "_last-serial" not in orjson.loads(Path(again.folder, "page.json").read_bytes())["projects"][0]


@in_reactor
async def test_the_list_is_asked_for_once_and_confirmed_conditionally(setup: Setup) -> None:
    setup.fake.set_names(NAMES)
    first, second = await gatherResults([start(setup.names.ensure(setup.index)) for _ in range(2)])
    assert first.folder == second.folder
    assert (await setup.names.ensure(setup.index)).kind == "hit"
    setup.clock.shift += 1801
    again = await setup.names.ensure(setup.index)
    assert (again.kind, again.folder, again.count) == ("revalidated", first.folder, 4)
    assert setup.fake.count(LIST) == 2
    assert setup.fake.seen[-1].header("If-None-Match") is not None


@in_reactor
async def test_the_list_is_never_asked_for_to_answer_for_a_project(setup: Setup) -> None:
    setup.fake.set_names(NAMES)
    setup.fake.add_project("unlisted", {"unlisted-1.0.tar.gz": b"x"})
    await setup.mirror.ensure(setup.index, "unlisted")
    assert setup.fake.count(LIST) == 0


@in_reactor
async def test_a_new_list_replaces_the_old_and_leaves_it_to_those_who_read_it(setup: Setup) -> None:
    setup.fake.set_names(NAMES)
    first = await setup.names.ensure(setup.index)
    setup.fake.set_names([*NAMES, "new"])
    second = await setup.names.ensure(setup.index, force=True)
    assert json_names(first) == NORMAL
    assert json_names(second) == {*NORMAL, "new"}
    setup.fake.set_names(["only"])
    await setup.names.ensure(setup.index, force=True)
    assert not os.path.exists(first.folder)


BAD: dict[str, Fault] = {
    "maintenance": WrongBody(b"<html><title>Maintenance</title><a href='/'>Home</a></html>"),
    "500": Status(500),
    "404": Status(404),
    "garbage": Garbage(),
    "cut off": CutOff(30),
    "no list": WrongBody(b'{"meta": {"api-version": "1.0"}}'),
    "another version": WrongBody(b'{"meta": {"api-version": "2.0"}, "projects": []}'),
}


@pytest.mark.parametrize("what", BAD)
@in_reactor
async def test_a_failing_upstream_leaves_the_old_list_or_none(setup: Setup, what: str) -> None:
    setup.fake.set_names(NAMES)
    setup.fake.documents[LIST].compress = False
    setup.fake.misbehave(LIST, BAD[what])
    with pytest.raises(UpstreamFailed):
        await setup.names.ensure(setup.index)
    setup.fake.behave(LIST)
    await setup.names.ensure(setup.index, force=True)
    setup.fake.documents[LIST].etag = None
    setup.fake.misbehave(LIST, BAD[what])
    setup.clock.shift += 1801
    state = await setup.names.ensure(setup.index)
    assert (state.kind, state.count) == ("stale", 4)
    assert state.reason
    home = home_of(str(setup.folder / "names"), setup.index.name)
    await until(lambda: len(os.listdir(home)) == 2)


def lists_at(setup: Setup, folder: str, run: Any, **options: Any) -> NameLists:
    """The name lists of the mirror in another folder, whose blocking work is done by ``run``."""
    source, call = UpstreamNames(setup.upstream), reactor.callFromThread
    root = str(setup.folder / folder)
    return NameLists(source, setup.readers, setup.clock, root=root, offload=run, call_in_reactor=call, **options)


@in_reactor
async def test_without_room_the_old_list_is_served_and_for_a_first_one_the_disk_is_said_to_be_full(setup: Setup) -> None:
    def without_room(function: Any, /, *args: Any, **options: Any) -> Any:
        full = OSError(errno.ENOSPC, "No space left on device")
        return fail(full) if function is open else offload(function, *args, **options)

    setup.fake.set_names(NAMES)
    await setup.names.ensure(setup.index)
    setup.fake.set_names(["only"])
    stale = await lists_at(setup, "names", without_room).ensure(setup.index, force=True)
    assert (stale.kind, stale.count, stale.reason) == ("stale", 4, "No space left on device")
    with pytest.raises(StorageFull, match="No space left on device"):
        await lists_at(setup, "first", without_room).ensure(setup.index)


@in_reactor
async def test_a_list_is_bounded_when_it_is_decompressed_and_on_disk(setup: Setup) -> None:
    setup.fake.set_names(NAMES)
    first = await setup.names.ensure(setup.index)
    bomb = gzip.compress(b"<html>" + b"<br>\n" * 21_000_000, 1)
    setup.fake.documents[LIST] = Document(bomb, HTML, headers={"Content-Encoding": "gzip"})
    stale = await setup.names.ensure(setup.index, force=True)
    assert (stale.kind, stale.folder, "longer than 100,000,000" in (stale.reason or "")) == ("stale", first.folder, True)
    setup.fake.set_names(f"project-{number}" for number in range(20_000))
    small = lists_at(setup, "small", offload, largest_folder=1_000_000)
    with pytest.raises(UpstreamFailed, match="takes more than 1,000,000 bytes"):
        await small.ensure(setup.index)
    home, other = (home_of(str(setup.folder / root), setup.index.name) for root in ("names", "small"))
    await until(lambda: len(os.listdir(home)) == 2 and not os.listdir(other))


@in_reactor
async def test_a_slow_list_is_served_stale_and_used_when_it_comes(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(timeout=5.0)
    setup.fake.set_names(NAMES)
    await setup.names.ensure(setup.index)
    setup.fake.set_names(["only"])
    held = Held()
    setup.fake.misbehave(LIST, held)
    setup.clock.shift += 1801
    asking = start(setup.names.ensure(setup.index))
    await until(lambda: held.waiting)
    setup.clock.elapse(5.0)
    assert (await asking).kind == "stale"
    held.release()
    await until(lambda: setup.names._known["root/up"].count == 1)
    assert (await setup.names.ensure(setup.index)).kind == "hit"


@in_reactor
async def test_an_index_without_a_list_and_a_server_without_network_say_so(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(mirror_no_project_list=True)
    with pytest.raises(UpstreamFailed, match="mirror_no_project_list"):
        await setup.names.ensure(setup.index)
    offline = make_setup(offline=True)
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await offline.names.ensure(offline.index)
    assert setup.fake.seen == []


@in_reactor
async def test_a_list_survives_a_restart_but_not_another_upstream(setup: Setup) -> None:
    setup.fake.set_names(NAMES)
    await setup.names.ensure(setup.index)
    setup.names._known.clear()
    assert (await setup.names.ensure(setup.index)).kind == "hit"
    other = FakeUpstream(reactor).start()
    try:
        other.misbehave(LIST, Status(500))
        await setup.set_up(mirror_url=other.index_url)
        with pytest.raises(UpstreamFailed):
            await setup.names.ensure(setup.index)
    finally:
        await other.stop()


def test_names_of_indexes_never_lead_out_of_the_folder() -> None:
    assert home_of("/names", "../..") == "/names/%2E./%2E."
    assert home_of("/names", "root/pypi") == "/names/root/pypi"


@in_reactor
async def test_R68_730_000_names_leave_memory_and_reactor_unharmed(setup: Setup) -> None:
    names = [f"project-{number:06d}-of-some-length" for number in range(730_000)]
    setup.fake.set_names(names, "html")
    setup.fake.documents[LIST].compress = False
    del names
    # What this thread computed, and not the time that passed: that belongs to whatever else the machine does.
    before, longest, last = _resident(), 0.0, time.thread_time()
    working = start(setup.names.ensure(setup.index))
    while not working.called:
        await pause(0.005)
        longest, last = max(longest, time.thread_time() - last), time.thread_time()
    found = await working
    assert found.count == 730_000
    assert _resident() - before < 30 * 1024 * 1024
    assert longest < 1.0
    assert "project-729999-of-some-length\n" in Path(found.folder, "names.txt").read_text()


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@in_reactor
async def test_stopping_ends_the_fetch(setup: Setup) -> None:
    setup.fake.set_names(NAMES)
    setup.fake.misbehave(LIST, Silent())
    asking = start(setup.names.ensure(setup.index))
    await until(lambda: setup.fake.count(LIST) == 1)
    setup.names.stop()
    with pytest.raises((UpstreamFailed, UpstreamUnreachable)):
        await asking
