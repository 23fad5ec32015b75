"""Private indexes and what they inherit: dead upstreams, name lists, refreshing."""

from __future__ import annotations

import html
import re
from inspect import unwrap
from typing import Any
from urllib.parse import urljoin

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from tests.web.web_asking import add_mirror, add_stage, nobody
from tests.web.web_wire import HTML_PAGE, JSON_PAGE, Wire, read_answer, request_bytes
from tests.web.web_world import FRESH, MIRROR, UPSTREAM, FakeNames, MakeWorld, World, link
from twistpi.mirror.pages import PageState
from twistpi.model.changes import IndexModified, LinksChanged, ProjectVanished
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import Index
from twistpi.model.server_errors import StorageFull

OWN, THEIRS = link("demo-1.0.tar.gz", b"own"), link("demo-2.0.tar.gz", b"theirs")
DEAD = UpstreamUnreachable(MIRROR, "demo", "connection refused")
PAGE = "/alice/dev/+simple/demo/"


@pytest.fixture
def dev(world: World) -> World:
    """``alice/dev`` inherits from two mirrors and lets them add to ``demo``."""
    add_mirror(world, "root/other")
    add_stage(world, "alice/dev", bases=[MIRROR, "root/other"], mirror_whitelist=["demo"])
    return world


def filenames(answer: Any) -> list[str]:
    return [file["filename"] for file in answer.json()["files"]]


def test_a_page_tells_people_which_mirrors_a_private_project_hides_and_why(dev: World) -> None:
    def note() -> list[str]:
        text = nobody(dev).get(PAGE, accept="text/html").content.decode()
        return re.findall("<p>(.*?)</p>", text)

    dev.list_links("demo", [THEIRS])
    assert note() == [], "nothing hides them"
    dev.list_links("demo", [OWN], index="alice/dev")
    assert note() == [], "the whitelist lets them"
    dev.commit(IndexModified("alice/dev", {"mirror_whitelist": []}))
    told = f"no releases from {MIRROR}, root/other are included."
    assert list(map(html.unescape, note())) == [f"Because this project isn't in the mirror_whitelist, {told}"]
    dev.commit(IndexModified("alice/dev", {"reserved": ["demo"], "mirror_whitelist": ["demo"]}))
    assert note() == [f"Because this name is reserved, {told}"]


# Dead upstreams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "failure", [DEAD, UpstreamFailed(MIRROR, "demo", "it answered 500"), StorageFull("/x", "no space left on device")]
)
def test_own_files_are_answered_though_an_upstream_is_dead_and_the_page_says_what_is_missing(
    dev: World, failure: Any, *, fast: bool
) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.mirror.failures[MIRROR] = failure
    wire = Wire(dev, fast=fast)
    for _ in range(3):
        answer = wire.ask(PAGE, accept=JSON_PAGE)
        assert (answer.status, filenames(answer)) == (200, [OWN.filename])
        assert answer.headers["x-twistpi-incomplete"] == f"{MIRROR}: {failure.reason}"
    assert len(dev.mirror.asked) == 6, "what is incomplete is never taken for fresh"
    unchanged = wire.ask(PAGE, accept=JSON_PAGE, if_none_match=answer.headers["etag"])
    assert unchanged.status == 304
    assert "x-twistpi-incomplete" in unchanged.headers


def test_the_page_is_whole_as_soon_as_the_upstream_is_back(dev: World) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.mirror.failures[MIRROR] = DEAD
    wire = Wire(dev)
    assert filenames(wire.ask(PAGE, accept=JSON_PAGE)) == [OWN.filename]
    del dev.mirror.failures[MIRROR]
    dev.list_links("demo", [THEIRS])
    for _ in range(2):
        answer = wire.ask(PAGE, accept=JSON_PAGE)
        assert filenames(answer) == [OWN.filename, THEIRS.filename]
        assert "x-twistpi-incomplete" not in answer.headers
    asked = len(dev.mirror.asked)
    wire.ask(PAGE, accept=JSON_PAGE)
    assert len(dev.mirror.asked) == asked, "now it is fresh"


def test_one_dead_upstream_takes_nothing_from_another(dev: World) -> None:
    dev.list_links("demo", [THEIRS], index="root/other")
    dev.mirror.failures[MIRROR] = DEAD
    answer = Wire(dev).ask(PAGE, accept=JSON_PAGE)
    assert filenames(answer) == [THEIRS.filename]
    assert answer.headers["x-twistpi-incomplete"].startswith(MIRROR)


@pytest.mark.parametrize(("failure", "status"), [(DEAD, 503), (UpstreamFailed(MIRROR, "demo", "it answered 500"), 502)])
@pytest.mark.parametrize("path", ["+simple/demo/", "demo", "demo/1.0"])
def test_what_could_exist_only_upstream_is_an_error_while_it_is_dead(dev: World, failure: Any, status: int, path: str) -> None:
    dev.mirror.failures[MIRROR] = failure
    assert nobody(dev).get(f"/alice/dev/{path}").status == status


def test_a_private_name_needs_no_upstream_at_all(dev: World) -> None:
    dev.commit(IndexModified("alice/dev", {"mirror_whitelist": []}))
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.mirror.failure = DEAD
    for _ in range(2):
        answer = Wire(dev).ask(PAGE, accept=JSON_PAGE)
        assert (filenames(answer), "x-twistpi-incomplete" in answer.headers) == ([OWN.filename], False)
    assert dev.mirror.asked == []


def test_all_upstreams_without_the_project_make_a_404(dev: World) -> None:
    assert Wire(dev).ask(PAGE).status == 404


def test_an_old_page_of_an_upstream_is_stale_not_incomplete(dev: World) -> None:
    dev.list_links("demo", [THEIRS])
    dev.mirror.state = PageState("stale", 4000.0, UPSTREAM, "connection refused", 5.0)
    answer = Wire(dev).ask(PAGE, accept=JSON_PAGE)
    assert filenames(answer) == [THEIRS.filename]
    assert "connection refused" in answer.headers["cache-status"]
    assert "x-twistpi-incomplete" not in answer.headers


def test_a_project_that_vanished_everywhere_with_nothing_left_is_a_404(dev: World) -> None:
    """As ``PageService.ensure`` has it: who has nothing left answers as if there had never been anything."""
    dev.commit(LinksChanged(MIRROR, "demo", added=(THEIRS,)), ProjectVanished(MIRROR, "demo"))
    dev.mirror.readers = _Forgetful()  # type: ignore[assignment]
    assert Wire(dev).ask(PAGE).status == 404


class _Forgetful:
    def get(self) -> _Forgetful:
        return self

    def has_project(self, index: str, project: str) -> bool:
        return False


def test_json_says_too_what_is_missing(dev: World) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.mirror.failures[MIRROR] = DEAD
    answer = nobody(dev).get("/alice/dev/demo")
    assert list(answer.json()["result"]) == ["1.0"]
    assert answer.headers["x-twistpi-incomplete"] == f"{MIRROR}: connection refused"


def test_an_error_nobody_foresaw_is_not_taken_for_a_dead_upstream(dev: World) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.mirror.failures[MIRROR] = ZeroDivisionError("a mistake")
    assert Wire(dev).ask(PAGE).status == 500


def test_an_inherited_page_is_as_fresh_as_its_upstream_says(dev: World) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.list_links("demo", [THEIRS])
    Wire(dev).ask(PAGE)
    asked = len(dev.mirror.asked)
    dev.clock.advance(FRESH.fresh_for - 1)
    Wire(dev).ask(PAGE)
    assert len(dev.mirror.asked) == asked
    dev.clock.advance(2)
    Wire(dev).ask(PAGE)
    assert len(dev.mirror.asked) > asked


# Name lists --------------------------------------------------------------------------------------------------------


def put_names(names: FakeNames, *listed: str) -> None:
    names.put("page.json", f"{listed}".encode())
    names.put("names.txt", "".join(f"{name}\n" for name in sorted(listed)).encode())


@pytest.fixture
def listed(dev: World) -> World:
    """The mirrors' lists are ``[demo, numpy, six]``; ``alice/dev`` has ``apple`` and ``demo``."""
    put_names(dev.names, "demo", "numpy", "six")
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.list_links("apple", [], index="alice/dev")
    return dev


UNION = ["apple", "demo", "numpy", "six"]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_name_list_is_the_union_of_own_names_and_of_all_lists(listed: World, coding: str) -> None:
    answer = Wire(listed).ask("/alice/dev/+simple/", accept=JSON_PAGE, accept_encoding=coding)
    assert [project["name"] for project in answer.json()["projects"]] == UNION
    assert answer.headers.get("content-encoding", "identity") == coding
    assert answer.headers["content-type"] == JSON_PAGE
    markup = Wire(listed).ask("/alice/dev/+simple/", accept=HTML_PAGE, accept_encoding=coding).content.decode()
    assert [name for name in UNION if f'<a href="{name}/">{name}</a>' in markup] == UNION


def test_a_name_list_has_a_tag_that_changes_with_it(listed: World) -> None:
    wire = Wire(listed)
    tags = []
    for headers in ({"accept": JSON_PAGE}, {"accept": HTML_PAGE}, {"accept": JSON_PAGE, "accept_encoding": "gzip"}):
        tag = wire.ask("/alice/dev/+simple/", **headers).headers["etag"]
        assert wire.ask("/alice/dev/+simple/", **headers, if_none_match=tag).status == 304
        tags.append(tag)
    assert len(set(tags)) == 3
    listed.list_links("new", [], index="alice/dev")
    assert wire.ask("/alice/dev/+simple/", accept=JSON_PAGE, if_none_match=tags[0]).status == 200
    put_names(listed.names, "demo", "numpy", "six", "zope")
    tag = wire.ask("/alice/dev/+simple/", accept=JSON_PAGE).headers["etag"]
    assert tag not in tags


def test_head_of_a_name_list_sends_none_of_it(listed: World) -> None:
    answer = Wire(listed).ask("/alice/dev/+simple/", "HEAD", accept=JSON_PAGE)
    assert (answer.status, answer.headers["content-type"]) == (200, JSON_PAGE)


def test_R68_a_large_name_list_is_made_piece_by_piece_beside_the_reactor(dev: World) -> None:
    put_names(dev.names, *(f"project-{number:06}" for number in range(30_000)))
    pieces: list[int] = []

    def offload(work: Any, *arguments: Any) -> Deferred[Any]:
        made = work(*arguments)
        if isinstance(made, bytes):
            pieces.append(len(made))
        return succeed(made)

    dev.offload = offload
    answer = Wire(dev).ask("/alice/dev/+simple/", accept=JSON_PAGE)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert len(answer.json()["projects"]) == 30_000
    assert max(pieces) < 300_000
    assert len(pieces) > 5


def test_a_client_that_leaves_gets_no_more_of_a_name_list(listed: World) -> None:
    waiting: list[Deferred[Any]] = []

    def offload(work: Any, *arguments: Any) -> Deferred[Any]:
        if unwrap(work) is not next:
            return succeed(work(*arguments))
        waiting.append(Deferred())
        return waiting[-1]

    listed.offload = offload
    wire = Wire(listed)
    assert wire.send(request_bytes("/alice/dev/+simple/", accept=JSON_PAGE)) == b""
    wire.lose()
    assert len(waiting) == 1


def test_a_name_list_that_breaks_is_never_taken_for_whole(listed: World) -> None:
    calls = iter(range(9))

    def offload(work: Any, *arguments: Any) -> Deferred[Any]:
        if unwrap(work) is next and next(calls) == 1:
            return fail(OSError("the disk is gone"))
        return succeed(work(*arguments))

    listed.offload = offload
    wire = Wire(listed)
    raw = wire.send(request_bytes("/alice/dev/+simple/", accept=JSON_PAGE))
    assert not raw.endswith(b"0\r\n\r\n")
    assert wire.transport.disconnecting or wire.transport.disconnected


def test_a_dead_mirror_leaves_the_names_that_are_known(listed: World) -> None:
    class DeadNames:
        async def ensure(self, index: Index, *, force: bool = False) -> Any:
            raise UpstreamFailed(index.name, "the list of projects", "it answered 500")

    listed.components.mirrors.names = DeadNames()  # type: ignore[assignment]
    listed.list_links("seen", [])
    answer = Wire(listed).ask("/alice/dev/+simple/", accept=JSON_PAGE)
    assert [project["name"] for project in answer.json()["projects"]] == ["apple", "demo", "seen"]
    assert f"{MIRROR}: it answered 500" in answer.headers["x-twistpi-incomplete"]
    assert Wire(listed).ask(f"/{MIRROR}/+simple/").status == 502
    assert Wire(listed).ask(f"/{MIRROR}", accept="application/json").json()["result"]["projects"] == ["seen"]


def test_offline_an_inherited_name_list_names_what_is_here(make_world: MakeWorld) -> None:
    world = make_world(offline=True)
    add_stage(world, "alice/dev", bases=[MIRROR])
    world.list_links("cached", [THEIRS])
    world.cache_file("cached", THEIRS, b"theirs")
    world.list_links("listed", [link("listed-1.0.tar.gz")])
    world.list_links("own", [], index="alice/dev")
    answer = Wire(world).ask("/alice/dev/+simple/", accept=JSON_PAGE)
    assert [project["name"] for project in answer.json()["projects"]] == ["cached", "own"]


# Refreshing --------------------------------------------------------------------------------------------------------


def refresh(world: World, path: str = PAGE) -> Any:
    return nobody(world).ask("POST", f"{path}refresh", accept="*/*")


def test_refresh_asks_every_mirror_that_may_answer_and_ends_at_the_page(dev: World) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.list_links("demo", [THEIRS])
    answer = refresh(dev)
    assert answer.status == 302
    assert dev.mirror.asked == [(MIRROR, "demo", True), ("root/other", "demo", True)]
    end = nobody(dev).get(urljoin(f"{PAGE}refresh", answer.headers["location"]), accept="*/*")
    assert end.status == 200


def test_refresh_makes_a_stale_page_fresh(dev: World) -> None:
    dev.list_links("demo", [THEIRS])
    dev.mirror.state = PageState("stale", 4000.0, UPSTREAM, "connection refused", 500.0)
    wire = Wire(dev)
    assert "refused" in wire.ask(PAGE).headers["cache-status"]
    dev.mirror.state = PageState("revalidated", 0.0, UPSTREAM, None, 1800.0)
    assert refresh(dev).status == 302
    assert "refused" not in wire.ask(PAGE).headers["cache-status"]


@pytest.mark.parametrize(("failure", "status"), [(DEAD, 503), (UpstreamFailed(MIRROR, "demo", "it answered 500"), 502)])
def test_refresh_of_a_failing_upstream_says_so(dev: World, failure: Any, status: int) -> None:
    dev.list_links("demo", [OWN], index="alice/dev")
    dev.mirror.failures[MIRROR] = failure
    answer = refresh(dev)
    assert answer.status == status
    assert failure.reason.encode() in answer.body
    assert Wire(dev).ask(PAGE).status == 200, "the page itself is there"


def test_refresh_is_not_content_with_an_old_page(dev: World) -> None:
    dev.list_links("demo", [THEIRS])
    dev.mirror.state = PageState("stale", 4000.0, UPSTREAM, "connection refused", 5.0)
    answer = refresh(dev)
    assert (answer.status, b"connection refused" in answer.body) == (502, True)


def test_refresh_of_what_nobody_has_is_a_404(dev: World) -> None:
    assert refresh(dev).status == 404
    assert refresh(dev, f"/{MIRROR}/+simple/demo/").status == 404
    assert refresh(dev, "/alice/none/+simple/demo/").status == 404


@pytest.mark.parametrize("project", ["demo", "unknown"])
def test_refresh_without_mirrors_does_nothing(world: World, project: str) -> None:
    add_stage(world, "alice/dev")
    world.list_links("demo", [OWN], index="alice/dev")
    assert refresh(world, f"/alice/dev/+simple/{project}/").status == 302
    assert world.mirror.asked == []


def test_refresh_of_a_private_name_tells_no_upstream(dev: World) -> None:
    dev.commit(IndexModified("alice/dev", {"mirror_whitelist": []}))
    dev.list_links("demo", [OWN], index="alice/dev")
    assert refresh(dev).status == 302
    assert dev.mirror.asked == []


def test_askers_of_one_inherited_page_wait_for_one_upstream_each_for_themselves(dev: World) -> None:
    dev.list_links("demo", [THEIRS])
    dev.mirror.gate = Deferred()
    wires = [Wire(dev) for _ in range(3)]
    for wire in wires:
        assert wire.send(request_bytes(PAGE)) == b""
    wires[0].lose()
    dev.mirror.gate.callback(None)
    for wire in wires[1:]:
        assert read_answer(bytes(wire.transport.value())).status == 200
