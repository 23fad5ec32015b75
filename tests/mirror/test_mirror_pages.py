"""Project pages: fresh, stale, unknown, gone; and what a failing upstream means for each."""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs
import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import (
    JSON,
    CutOff,
    FakeUpstream,
    FallsSilent,
    Fault,
    Garbage,
    Hangup,
    Held,
    InParts,
    Redirect,
    Silent,
    Status,
    WithHeaders,
    WrongBody,
)
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_house import House, expect_cancellation, pause, reactor, start
from twistpi.model.changes import LinksChanged, ProjectVanished
from twistpi.model.errors import UnknownFile, UnknownProject, UpstreamFailed, UpstreamUnreachable

WHEEL = "hello-1.0-py3-none-any.whl"
PAGE = "/simple/hello/"


def expire(house: House) -> None:
    """Let a page's expiry pass."""
    house.clock.shift += 1801


@in_reactor
async def test_an_unknown_project_is_fetched_and_then_answered_without_asking_again(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    first = await house.mirror.ensure(house.index, "hello")
    second = await house.mirror.ensure(house.index, "hello")
    assert (first.kind, second.kind) == ("miss", "hit")
    assert second.source == house.fake.index_url
    assert 0 < second.fresh_for <= 1800
    assert [file.link.filename for file in house.project("hello").files] == [WHEEL]
    assert house.fake.count(PAGE) == 1


@in_reactor
async def test_R60_a_stale_page_is_confirmed_with_the_upstreams_own_etag(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    expire(house)
    state = await house.mirror.ensure(house.index, "hello")
    assert state.kind == "revalidated"
    assert house.fake.seen[-1].header("If-None-Match") == house.fake.documents[PAGE].etag
    assert len(house.changes(LinksChanged)) == 1
    assert (await house.mirror.ensure(house.index, "hello")).kind == "hit"


@in_reactor
async def test_a_stale_page_that_changed_is_learned_as_a_difference(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    house.fake.add_project("hello", {WHEEL: b"wheel", "hello-2.0-py3-none-any.whl": b"more"})
    expire(house)
    await house.mirror.ensure(house.index, "hello")
    last = house.changes(LinksChanged)[-1]
    assert isinstance(last, LinksChanged)
    assert [link.filename for link in last.added] == ["hello-2.0-py3-none-any.whl"]
    assert (last.changed, last.removed) == ((), ())


@in_reactor
async def test_force_asks_however_fresh_the_page_is(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    assert (await house.mirror.ensure(house.index, "hello", force=True)).kind == "revalidated"
    assert house.fake.count(PAGE) == 2


@in_reactor
async def test_many_askers_share_one_fetch_and_one_that_leaves_stops_nothing(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    held = Held()
    house.fake.misbehave(PAGE, held)
    askers = [start(house.mirror.ensure(house.index, "hello")) for _ in range(20)]
    await until(lambda: bool(held.waiting))
    askers[0].addErrback(expect_cancellation)
    askers[0].cancel()
    held.release()
    states = await gatherResults(askers[1:])
    assert {state.kind for state in states} == {"miss"}
    assert house.fake.count(PAGE) == 1


SILENT = (Silent, FallsSilent)
HOSTILE: dict[str, tuple[Fault, type[Exception]]] = {
    "500": (Status(500), UpstreamFailed),
    "403": (Status(403), UpstreamFailed),
    "503": (Status(503), UpstreamFailed),
    "garbage": (Garbage(), UpstreamFailed),
    "hangs up": (Hangup(), UpstreamFailed),
    "is silent": (Silent(), UpstreamUnreachable),
    "is cut off": (CutOff(100), UpstreamFailed),
    "falls silent": (FallsSilent(100), UpstreamUnreachable),
    "is no page": (WrongBody(b"{"), UpstreamFailed),
    "claims gzip": (WithHeaders({"Content-Encoding": "gzip"}), UpstreamFailed),
    "claims brotli": (WithHeaders({"Content-Encoding": "br"}), UpstreamFailed),
    "redirects in circles": (Redirect(PAGE), UpstreamFailed),
    "redirects to a file": (Redirect("file:///etc/passwd"), UpstreamFailed),
    "redirects to a script": (Redirect("javascript:alert(1)"), UpstreamFailed),
    "redirects nowhere": (Status(302), UpstreamFailed),
    "is another major version": (WrongBody(b'{"meta":{"api-version":"2.0"},"name":"hello","files":[]}'), UpstreamFailed),
}


@pytest.mark.parametrize("what", HOSTILE)
@in_reactor
async def test_R67_an_unknown_project_of_a_failing_upstream_is_an_error_and_never_unknown(house: House, what: str) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    fault, expected = HOSTILE[what]
    if what.startswith("claims"):
        house.fake.documents[PAGE].compress = False
    house.fake.misbehave(PAGE, fault)
    asking = start(house.mirror.ensure(house.index, "hello"))
    if isinstance(fault, SILENT):
        await house.keep_waiting()
    with pytest.raises(expected) as caught:
        await asking
    assert "hello" in str(caught.value)
    assert house.announced == []


@pytest.mark.parametrize("what", HOSTILE)
@in_reactor
async def test_R60_a_known_project_of_a_failing_upstream_is_served_stale(house: House, what: str) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    expire(house)
    if what.startswith("claims"):
        house.fake.documents[PAGE].compress = False
    house.fake.documents[PAGE].etag = None
    house.fake.misbehave(PAGE, HOSTILE[what][0])
    asking = start(house.mirror.ensure(house.index, "hello"))
    if isinstance(HOSTILE[what][0], SILENT):
        await house.keep_waiting()
    state = await asking
    assert state.kind == "stale"
    assert state.reason
    assert state.age > 1800
    assert state.fresh_for > 0
    assert [file.link.filename for file in house.project("hello").files] == [WHEEL]


@in_reactor
async def test_an_upstream_that_is_gone_is_unreachable(house: House) -> None:
    await house.fake.stop()
    with pytest.raises(UpstreamUnreachable):
        await house.mirror.ensure(house.index, "hello")


@in_reactor
async def test_a_slow_answer_is_used_when_it_comes(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    held = Held()
    house.fake.misbehave(PAGE, held)
    asking = start(house.mirror.ensure(house.index, "hello"))
    await until(lambda: held.waiting)
    house.clock.elapse(house.upstream.request_timeout)
    with pytest.raises(UpstreamUnreachable):
        await asking
    held.release()
    await until(lambda: house.reader.freshness("root/up", "hello") is not None)
    assert (await house.mirror.ensure(house.index, "hello")).kind == "hit"
    assert house.fake.count(PAGE) == 1


@in_reactor
async def test_a_large_page_that_comes_slowly_is_waited_for(house: House) -> None:
    house.fake.add_project("hello", {f"hello-{number}.0-py3-none-any.whl": b"" for number in range(300)})
    house.fake.documents[PAGE].compress = False
    parts, patience = InParts(4), house.upstream.request_timeout
    house.fake.misbehave(PAGE, parts)
    asking = start(house.mirror.ensure(house.index, "hello"))
    await until(lambda: parts.began and house.clock.furthest <= patience)  # it is the body that is waited for by now
    for _ in range(3):
        house.clock.elapse(0.7 * patience)
        parts.go_on()
        await until(lambda: asking.called or house.clock.furthest > 0.9 * patience)  # what was sent has come
    assert (await asking).kind == "miss"
    assert len(house.project("hello").files) == 300


@in_reactor
async def test_a_dead_upstream_costs_one_timeout_and_not_one_for_each_request(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    expire(house)
    for name in ("hello", "one", "two"):
        house.fake.misbehave(f"/simple/{name}/", Silent())
    asking = start(house.mirror.ensure(house.index, "hello"))
    await house.keep_waiting()
    assert (await asking).kind == "stale"
    asked = len(house.fake.seen)
    for name in ("one", "two"):
        with pytest.raises(UpstreamUnreachable):
            await house.mirror.ensure(house.index, name)
    assert (await house.mirror.ensure(house.index, "hello")).kind == "stale"
    assert len(house.fake.seen) == asked


@in_reactor
async def test_after_the_pause_a_failed_upstream_is_asked_again_and_force_never_waits(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    house.fake.misbehave(PAGE, Status(500), times=1)
    for _ in range(3):
        with pytest.raises(UpstreamFailed):
            await house.mirror.ensure(house.index, "hello")
    assert house.fake.count(PAGE) == 1
    house.fake.misbehave(PAGE, Status(500), times=1)
    with pytest.raises(UpstreamFailed):
        await house.mirror.ensure(house.index, "hello", force=True)
    house.clock.shift += 6
    assert (await house.mirror.ensure(house.index, "hello")).kind == "miss"


@in_reactor
async def test_one_failing_project_does_not_close_the_way_to_the_others(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    house.fake.misbehave("/simple/bad/", Status(500))
    with pytest.raises(UpstreamFailed):
        await house.mirror.ensure(house.index, "bad")
    assert (await house.mirror.ensure(house.index, "hello")).kind == "miss"


@in_reactor
async def test_R67_R59_an_upstreams_404_is_remembered_for_a_short_while(house: House) -> None:
    for _ in range(3):
        with pytest.raises(UnknownProject):
            await house.mirror.ensure(house.index, "hello")
    assert house.fake.count(PAGE) == 1
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    house.clock.shift += 61
    assert (await house.mirror.ensure(house.index, "hello")).kind == "miss"


@in_reactor
async def test_a_project_that_vanishes_upstream_stays_as_far_as_it_is_cached(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel", "hello-2.0-py3-none-any.whl": b"more"})
    await house.mirror.ensure(house.index, "hello")
    await house.download("hello", WHEEL)
    await until(lambda: house.file("hello", WHEEL).cached)
    del house.fake.documents[PAGE]
    expire(house)
    state = await house.mirror.ensure(house.index, "hello")
    assert state.kind == "revalidated"
    assert state.reason is not None
    assert house.changes(ProjectVanished) == [ProjectVanished("root/up", "hello")]
    assert house.project("hello").vanished
    assert [file.link.filename for file in house.project("hello").files] == [WHEEL]
    assert (await house.mirror.ensure(house.index, "hello")).kind == "hit"
    expire(house)
    await house.mirror.ensure(house.index, "hello")
    assert len(house.changes(ProjectVanished)) == 1


@in_reactor
async def test_a_vanished_project_of_which_nothing_is_cached_is_unknown_until_it_is_back(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    page = house.fake.documents.pop(PAGE)
    expire(house)
    for _ in range(2):
        with pytest.raises(UnknownProject):
            await house.mirror.ensure(house.index, "hello")
    assert house.fake.count(PAGE) == 2
    house.fake.documents[PAGE] = page
    house.clock.shift += 61
    assert (await house.mirror.ensure(house.index, "hello")).reason is None
    assert not house.project("hello").vanished


@in_reactor
async def test_another_mirror_url_makes_pages_stale_and_forgets_validators(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    other = FakeUpstream(reactor).start()
    try:
        other.add_project("hello", {"hello-9.0-py3-none-any.whl": b"other"})
        await house.set_up(mirror_url=other.index_url)
        assert (await house.mirror.ensure(house.index, "hello")).source == other.index_url
        assert other.seen[0].header("If-None-Match") is None
        assert "hello-9.0-py3-none-any.whl" in {file.link.filename for file in house.project("hello").files}
    finally:
        await other.stop()


@in_reactor
async def test_an_index_without_a_usable_upstream_says_so(house: House) -> None:
    for url in (None, "", "file:///etc", "not an address", 7):
        broken = attrs.evolve(house.index, config={"type": "mirror", "mirror_url": url})
        with pytest.raises(UpstreamFailed, match="mirror_url"):
            await house.mirror.ensure(broken, "hello")


@in_reactor
async def test_the_expiry_of_the_index_wins(make_house: Callable[..., House]) -> None:
    house = make_house(mirror_cache_expiry=0)
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    assert (await house.mirror.ensure(house.index, "hello")).kind == "revalidated"


@in_reactor
async def test_the_serial_header_is_kept_and_must_not_go_backwards(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    house.fake.documents[PAGE].headers["X-PyPI-Last-Serial"] = "100"
    await house.mirror.ensure(house.index, "hello")
    assert house.project("hello").header.last_serial == 100
    house.fake.add_project("hello", {"hello-0.9-py3-none-any.whl": b"older"})
    house.fake.documents[PAGE].headers["X-PyPI-Last-Serial"] = "99"
    expire(house)
    state = await house.mirror.ensure(house.index, "hello")
    assert state.kind == "stale"
    assert "99" in (state.reason or "")
    tolerant = attrs.evolve(house.index, config={**house.index.config, "mirror_ignore_serial_header": True})
    assert (await house.mirror.ensure(tolerant, "hello", force=True)).kind == "revalidated"


@in_reactor
async def test_R66_offline_nothing_is_asked(make_house: Callable[..., House]) -> None:
    house = make_house(offline=True)
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await house.mirror.ensure(house.index, "hello", force=True)
    assert house.fake.seen == []


@in_reactor
async def test_R49_a_file_of_a_page_never_asked_for_is_found_through_its_name(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    path = house.file("hello", WHEEL).path
    house.fake.add_project("other", {"other-1.0.tar.gz": b"sdist"}, hashes=())
    found = await house.mirror.find_file(house.index, path)
    assert found[0] == "hello"
    with pytest.raises(UnknownFile):
        await house.mirror.find_file(house.index, "+f/000/0000000000000/nothing-1.0.tar.gz")
    with pytest.raises(UnknownFile):
        await house.mirror.find_file(house.index, "+f/000/0000000000000/no project")


@in_reactor
async def test_R49_a_lock_files_path_works_on_a_mirror_that_was_made_anew(make_house: Callable[..., House]) -> None:
    before, after = make_house(), make_house()
    before.fake.add_project("hello", {WHEEL: b"wheel"})
    await before.mirror.ensure(before.index, "hello")
    path = before.file("hello", WHEEL).path
    project, known_file = await after.mirror.find_file(after.index, path)
    assert (project, known_file.path) == ("hello", path)


@in_reactor
async def test_R49_a_file_newer_than_the_page_is_found_by_asking_again(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"})
    await house.mirror.ensure(house.index, "hello")
    house.fake.add_project("hello", {WHEEL: b"wheel", "hello-2.0-py3-none-any.whl": b"more"})
    digest = "187897ce0afcf20b50ba2b37dca84a951b7046f29ed5ab94f010619f69d6e189"
    path = f"+f/{digest[:3]}/{digest[3:16]}/hello-2.0-py3-none-any.whl"
    with pytest.raises(UnknownFile):
        await house.mirror.find_file(house.index, path)
    house.clock.shift += 60
    assert (await house.mirror.find_file(house.index, path))[1].path == path


@in_reactor
async def test_R65_an_html_page_with_base_relative_links_and_redirects_is_learned(house: House) -> None:
    house.fake.add_project("hello", {WHEEL: b"wheel"}, form="html", base="/elsewhere/page/", files_at="../..")
    house.fake.documents["/moved/hello/"] = house.fake.documents.pop(PAGE)
    house.fake.misbehave(PAGE, Redirect("/moved/hello/", 308))
    await house.mirror.ensure(house.index, "hello")
    assert house.file("hello", WHEEL).link.url == f"{house.fake.url}/files/hello/{WHEEL}"


@in_reactor
async def test_R61_what_a_json_page_says_of_a_file_is_known_unchanged(house: House) -> None:
    said = {"requires-python": ">=3.9", "upload-time": "2026-11-01T10:00:00.000001Z", "yanked": "broken"}
    house.fake.add_project("hello", {WHEEL: b"wheel"}, extra={WHEEL: said})
    await house.mirror.ensure(house.index, "hello")
    link = house.file("hello", WHEEL).link
    assert (link.requires_python, link.upload_time, link.yanked, link.size) == (">=3.9", said["upload-time"], "broken", 5)


@in_reactor
async def test_a_large_page_is_learned(house: House) -> None:
    files = {f"hello-{number}.0-py3-none-any.whl": b"" for number in range(2000)}
    house.fake.add_project("hello", files)
    await house.mirror.ensure(house.index, "hello")
    assert len(house.project("hello").files) == 2000


@in_reactor
async def test_hostile_links_of_a_page_are_not_learned_and_do_not_spoil_the_others(house: House) -> None:
    bad = [
        {"filename": "../../etc/passwd", "url": "/x/passwd", "hashes": {}},
        {"filename": "a-1.0.tar.gz", "url": "file:///etc/passwd", "hashes": {}},
        {"filename": "b-1.0.tar.gz", "url": "javascript:alert(1)", "hashes": {}},
    ]
    good = {"filename": WHEEL, "url": f"/files/{WHEEL}", "hashes": {}}
    page = {"meta": {"api-version": "1.0"}, "name": "hello", "files": [*bad, good]}
    house.fake.set_page("hello", json.dumps(page).encode(), JSON)
    await house.mirror.ensure(house.index, "hello")
    assert [file.link.filename for file in house.project("hello").files] == [WHEEL]
    await pause(0)
