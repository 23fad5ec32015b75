"""Name lists: fetched on demand, made into pages by a process of their own."""

from __future__ import annotations

import gzip
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import CutOff, FakeUpstream, Fault, Garbage, Held, Silent, Status, WrongBody
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_house import House, pause, reactor, start
from twistpi.mirror.names import NameList, search_names
from twistpi.mirror.names_store import home_of
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable

LIST = "/simple/"
NAMES = ["Zope.Interface", "twisted", "klein", "twisted-web"]
NORMAL = {"zope-interface", "twisted", "klein", "twisted-web"}


def json_names(found: NameList) -> set[str]:
    """The names on the JSON page."""
    page = json.loads(Path(found.folder, "page.json").read_bytes())
    return {project["name"] for project in page["projects"]}


@pytest.mark.parametrize("form", ["json", "html"])
@in_reactor
async def test_R36_the_list_is_made_into_every_page(house: House, form: str) -> None:
    house.fake.set_names(NAMES, form)
    found = await house.names.ensure(house.index)
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
async def test_the_list_is_asked_for_once_and_confirmed_conditionally(house: House) -> None:
    house.fake.set_names(NAMES)
    first, second = await gatherResults([start(house.names.ensure(house.index)) for _ in range(2)])
    assert first.folder == second.folder
    assert (await house.names.ensure(house.index)).kind == "hit"
    house.clock.shift += 1801
    again = await house.names.ensure(house.index)
    assert (again.kind, again.folder, again.count) == ("revalidated", first.folder, 4)
    assert house.fake.count(LIST) == 2
    assert house.fake.seen[-1].header("If-None-Match") is not None


@in_reactor
async def test_the_list_is_never_asked_for_to_answer_for_a_project(house: House) -> None:
    house.fake.set_names(NAMES)
    house.fake.add_project("unlisted", {"unlisted-1.0.tar.gz": b"x"})
    await house.mirror.ensure(house.index, "unlisted")
    assert house.fake.count(LIST) == 0


@in_reactor
async def test_a_new_list_replaces_the_old_and_leaves_it_to_those_who_read_it(house: House) -> None:
    house.fake.set_names(NAMES)
    first = await house.names.ensure(house.index)
    house.fake.set_names([*NAMES, "new"])
    second = await house.names.ensure(house.index, force=True)
    assert json_names(first) == NORMAL
    assert json_names(second) == {*NORMAL, "new"}
    house.fake.set_names(["only"])
    await house.names.ensure(house.index, force=True)
    assert not os.path.exists(first.folder)


BAD: dict[str, Fault] = {
    "500": Status(500),
    "404": Status(404),
    "garbage": Garbage(),
    "cut off": CutOff(30),
    "no list": WrongBody(b'{"meta": {"api-version": "1.0"}}'),
    "another version": WrongBody(b'{"meta": {"api-version": "2.0"}, "projects": []}'),
}


@pytest.mark.parametrize("what", BAD)
@in_reactor
async def test_a_failing_upstream_leaves_the_old_list_or_none(house: House, what: str) -> None:
    house.fake.set_names(NAMES)
    house.fake.documents[LIST].compress = False
    house.fake.misbehave(LIST, BAD[what])
    with pytest.raises(UpstreamFailed):
        await house.names.ensure(house.index)
    house.fake.behave(LIST)
    await house.names.ensure(house.index, force=True)
    house.fake.documents[LIST].etag = None
    house.fake.misbehave(LIST, BAD[what])
    house.clock.shift += 1801
    state = await house.names.ensure(house.index)
    assert (state.kind, state.count) == ("stale", 4)
    assert state.reason
    home = home_of(str(house.folder / "names"), house.index.name)
    await until(lambda: len(os.listdir(home)) == 2)


@in_reactor
async def test_a_slow_list_is_served_stale_and_used_when_it_comes(make_house: Callable[..., House]) -> None:
    house = make_house(timeout=5.0)
    house.fake.set_names(NAMES)
    await house.names.ensure(house.index)
    house.fake.set_names(["only"])
    held = Held()
    house.fake.misbehave(LIST, held)
    house.clock.shift += 1801
    asking = start(house.names.ensure(house.index))
    await until(lambda: held.waiting)
    house.clock.elapse(5.0)
    assert (await asking).kind == "stale"
    held.release()
    await until(lambda: house.names._known["root/up"].count == 1)
    assert (await house.names.ensure(house.index)).kind == "hit"


@in_reactor
async def test_an_index_without_a_list_and_a_server_without_network_say_so(make_house: Callable[..., House]) -> None:
    house = make_house(mirror_no_project_list=True)
    with pytest.raises(UpstreamFailed, match="mirror_no_project_list"):
        await house.names.ensure(house.index)
    offline = make_house(offline=True)
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await offline.names.ensure(offline.index)
    assert house.fake.seen == []


@in_reactor
async def test_a_list_survives_a_restart_but_not_another_upstream(house: House) -> None:
    house.fake.set_names(NAMES)
    await house.names.ensure(house.index)
    house.names._known.clear()
    assert (await house.names.ensure(house.index)).kind == "hit"
    other = FakeUpstream(reactor).start()
    try:
        other.misbehave(LIST, Status(500))
        await house.set_up(mirror_url=other.index_url)
        with pytest.raises(UpstreamFailed):
            await house.names.ensure(house.index)
    finally:
        await other.stop()


@in_reactor
async def test_names_are_searched_for_by_a_part_of_them(house: House) -> None:
    house.fake.set_names([*NAMES, "x"])
    found = await house.names.ensure(house.index)
    assert search_names(found.folder, "twisted") == ["twisted", "twisted-web"]
    assert search_names(found.folder, "Zope_Inter") == ["zope-interface"]
    assert search_names(found.folder, "e", limit=2) == ["klein", "twisted"]
    assert search_names(found.folder, "nothing") == []
    assert search_names(found.folder, "") == []
    assert search_names(found.folder, "n\ntwisted") == []


def test_names_of_indexes_never_lead_out_of_the_folder() -> None:
    assert home_of("/names", "../..") == "/names/%2E./%2E."
    assert home_of("/names", "root/pypi") == "/names/root/pypi"


@in_reactor
async def test_R68_730_000_names_leave_memory_and_reactor_unharmed(house: House) -> None:
    names = [f"project-{number:06d}-of-some-length" for number in range(730_000)]
    house.fake.set_names(names, "html")
    house.fake.documents[LIST].compress = False
    del names
    # What this thread computed, and not the time that passed: that belongs to whatever else the machine does.
    before, longest, last = _resident(), 0.0, time.thread_time()
    working = start(house.names.ensure(house.index))
    while not working.called:
        await pause(0.005)
        longest, last = max(longest, time.thread_time() - last), time.thread_time()
    found = await working
    assert found.count == 730_000
    assert _resident() - before < 30 * 1024 * 1024
    assert longest < 1.0
    assert search_names(found.folder, "729999") == ["project-729999-of-some-length"]


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@in_reactor
async def test_stopping_ends_the_process(house: House) -> None:
    house.fake.set_names(NAMES)
    house.fake.misbehave(LIST, Silent())
    asking = start(house.names.ensure(house.index))
    await until(lambda: house.fake.count(LIST) == 1)
    house.names.stop()
    with pytest.raises((UpstreamFailed, UpstreamUnreachable)):
        await asking
