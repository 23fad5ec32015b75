"""Project pages: fresh, stale, unknown, gone; and what a failing upstream means for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import (
    JSON,
    CutOff,
    Document,
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
from tests.mirror.mirror_setup import Setup, expect_cancellation, pause, reactor, start
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import PageService
from twistpi.mirror.upstream import retry_after
from twistpi.model.changes import LinksChanged, ProjectVanished
from twistpi.model.errors import UnknownFile, UnknownProject, UpstreamFailed, UpstreamUnreachable

WHEEL = "hello-1.0-py3-none-any.whl"
PAGE = "/simple/hello/"


def expire(setup: Setup) -> None:
    """Let a page's expiry pass."""
    setup.clock.shift += 1801


@in_reactor
async def test_an_unknown_project_is_fetched_and_then_answered_without_asking_again(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    first = await setup.mirror.ensure(setup.index, "hello")
    second = await setup.mirror.ensure(setup.index, "hello")
    assert (first.kind, second.kind) == ("miss", "hit")
    assert second.source == f"{setup.fake.url}/"
    assert 0 < second.fresh_for <= 1800
    assert [file.link.filename for file in setup.project("hello").files] == [WHEEL]
    assert setup.fake.count(PAGE) == 1


@in_reactor
async def test_R60_a_stale_page_is_confirmed_with_the_upstreams_own_etag(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    expire(setup)
    state = await setup.mirror.ensure(setup.index, "hello")
    assert state.kind == "revalidated"
    assert setup.fake.seen[-1].header("If-None-Match") == setup.fake.documents[PAGE].etag
    assert len(setup.changes(LinksChanged)) == 1
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "hit"


@in_reactor
async def test_a_stale_page_that_changed_is_learned_as_a_difference(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.add_project("hello", {WHEEL: b"wheel", "hello-2.0-py3-none-any.whl": b"more"})
    expire(setup)
    await setup.mirror.ensure(setup.index, "hello")
    last = setup.changes(LinksChanged)[-1]
    assert isinstance(last, LinksChanged)
    assert [link.filename for link in last.added] == ["hello-2.0-py3-none-any.whl"]
    assert (last.changed, last.removed) == ((), ())


@in_reactor
async def test_force_asks_however_fresh_the_page_is(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    assert (await setup.mirror.ensure(setup.index, "hello", force=True)).kind == "revalidated"
    assert setup.fake.count(PAGE) == 2


@in_reactor
async def test_many_askers_share_one_fetch_and_one_that_leaves_stops_nothing(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    held = Held()
    setup.fake.misbehave(PAGE, held)
    principals = [start(setup.mirror.ensure(setup.index, "hello")) for _ in range(20)]
    await until(lambda: bool(held.waiting))
    principals[0].addErrback(expect_cancellation)
    principals[0].cancel()
    held.release()
    states = await gatherResults(principals[1:])
    assert {state.kind for state in states} == {"miss"}
    assert setup.fake.count(PAGE) == 1


@attrs.define
class Page(Fault):
    """Answers with an HTML page that ends when the connection does."""

    body: bytes

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        request.transport.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + self.body)
        request.transport.loseConnection()


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
    "is a web page": (Page(b"<title>Maintenance</title><p>Back soon"), UpstreamFailed),
    "breaks off": (Page(b"<html><body><a href=hello-1.0.zip>x</a>"), UpstreamFailed),
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
async def test_R67_an_unknown_project_of_a_failing_upstream_is_an_error_and_never_unknown(setup: Setup, what: str) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    fault, expected = HOSTILE[what]
    if what.startswith("claims"):
        setup.fake.documents[PAGE].compress = False
    setup.fake.misbehave(PAGE, fault)
    asking = start(setup.mirror.ensure(setup.index, "hello"))
    if isinstance(fault, SILENT):
        await setup.keep_waiting()
    with pytest.raises(expected) as caught:
        await asking
    assert "hello" in str(caught.value)
    assert setup.announced == []


@pytest.mark.parametrize("what", HOSTILE)
@in_reactor
async def test_R60_a_known_project_of_a_failing_upstream_is_served_stale(setup: Setup, what: str) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    expire(setup)
    if what.startswith("claims"):
        setup.fake.documents[PAGE].compress = False
    setup.fake.documents[PAGE].etag = None
    setup.fake.misbehave(PAGE, HOSTILE[what][0])
    asking = start(setup.mirror.ensure(setup.index, "hello"))
    if isinstance(HOSTILE[what][0], SILENT):
        await setup.keep_waiting()
    state = await asking
    assert state.kind == "stale"
    assert state.reason
    assert state.age > 1800
    assert state.fresh_for > 0
    assert [file.link.filename for file in setup.project("hello").files] == [WHEEL]


@in_reactor
async def test_an_upstream_that_is_gone_is_unreachable(setup: Setup) -> None:
    await setup.fake.stop()
    with pytest.raises(UpstreamUnreachable):
        await setup.mirror.ensure(setup.index, "hello")


@in_reactor
async def test_a_slow_answer_is_used_when_it_comes(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    held = Held()
    setup.fake.misbehave(PAGE, held)
    asking = start(setup.mirror.ensure(setup.index, "hello"))
    await until(lambda: held.waiting)
    setup.clock.elapse(setup.upstream.silence)
    with pytest.raises(UpstreamUnreachable):
        await asking
    held.release()
    await until(lambda: setup.reader.freshness("root/up", "hello") is not None)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "hit"
    assert setup.fake.count(PAGE) == 1


@in_reactor
async def test_a_large_page_that_comes_slowly_is_waited_for(setup: Setup) -> None:
    setup.fake.add_project("hello", {f"hello-{number}.0-py3-none-any.whl": b"" for number in range(300)})
    setup.fake.documents[PAGE].compress = False
    parts, patience = InParts(4), setup.upstream.silence
    setup.fake.misbehave(PAGE, parts)
    asking = start(setup.mirror.ensure(setup.index, "hello"))
    await until(lambda: parts.began and setup.clock.furthest <= patience)  # it is the body that is waited for by now
    for _ in range(3):
        setup.clock.elapse(0.7 * patience)
        parts.go_on()
        await until(lambda: asking.called or setup.clock.furthest > 0.9 * patience)  # what was sent has come
    assert (await asking).kind == "miss"
    assert len(setup.project("hello").files) == 300


@in_reactor
async def test_one_silent_page_leaves_the_way_to_the_others_open(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.misbehave("/simple/slow/", Silent())
    for _ in range(4):
        asking = start(setup.mirror.ensure(setup.index, "slow"))
        await setup.keep_waiting()
        with pytest.raises(UpstreamUnreachable):
            await asking
        with pytest.raises(UpstreamUnreachable):
            await setup.mirror.ensure(setup.index, "slow")
        setup.clock.shift += 6
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    assert setup.mirror.failing() == {}


@in_reactor
async def test_a_dead_upstream_costs_three_timeouts_and_not_one_for_each_request(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    expire(setup)
    for name in ("hello", "one", "two", "three", "four"):
        setup.fake.misbehave(f"/simple/{name}/", Silent())
    asking = [start(setup.mirror.ensure(setup.index, name)) for name in ("hello", "one", "two")]
    await until(lambda: len(setup.fake.held) == 3)
    await setup.keep_waiting()
    assert (await asking[0]).kind == "stale"
    for one in asking[1:]:
        with pytest.raises(UpstreamUnreachable):
            await one
    asked = len(setup.fake.seen)
    for name in ("three", "four"):
        with pytest.raises(UpstreamUnreachable):
            await setup.mirror.ensure(setup.index, name)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "stale"
    assert len(setup.fake.seen) == asked
    assert list(setup.mirror.failing()) == [setup.index.name]


@in_reactor
async def test_an_upstream_that_takes_no_connections_costs_one_request(setup: Setup) -> None:
    await setup.fake.stop()
    for name in ("one", "two"):
        with pytest.raises(UpstreamUnreachable):
            await setup.mirror.ensure(setup.index, name)
    assert setup.upstream.requests == 1


@in_reactor
async def test_after_the_pause_a_failed_upstream_is_asked_again_and_force_never_waits(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.misbehave(PAGE, Status(500), times=1)
    for _ in range(3):
        with pytest.raises(UpstreamFailed):
            await setup.mirror.ensure(setup.index, "hello")
    assert setup.fake.count(PAGE) == 1
    setup.fake.misbehave(PAGE, Status(500), times=1)
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "hello", force=True)
    setup.clock.shift += 6
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"


@attrs.frozen
class Head:
    """The head of a response with a Retry-After."""

    status: int
    value: str | None

    def header(self, name: str) -> str | None:
        """That one."""
        assert name == "Retry-After"
        return self.value


@pytest.mark.parametrize("status", [429, 503])
@in_reactor
async def test_an_upstream_that_says_later_is_not_asked_before_and_clients_are_told(setup: Setup, status: int) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    expire(setup)
    later = Status(status, {"Retry-After": "120"})
    setup.fake.misbehave(PAGE, later)
    setup.fake.misbehave("/simple/other/", later)
    for shift, asked in ((0, 1), (60, 1), (59, 1), (2, 2)):
        setup.clock.shift += shift
        assert (await setup.mirror.ensure(setup.index, "hello")).kind == "stale"
        assert setup.fake.count(PAGE) == 1 + asked
    for shift, expected in ((0, 120), (60, 60)):
        setup.clock.shift += shift
        with pytest.raises(UpstreamFailed, match=f"it answered {status}") as caught:
            await setup.mirror.ensure(setup.index, "other")
        assert caught.value.status == 503
        assert expected - 5 <= (caught.value.retry_after or 0) <= expected
    setup.fake.add_project("third", {"third-1.0.tar.gz": b"x"})
    assert (await setup.mirror.ensure(setup.index, "third")).kind == "miss", "the upstream has time for others"


@in_reactor
async def test_an_upstream_that_says_later_for_three_projects_in_a_row_is_left_alone(setup: Setup) -> None:
    for name in ("one", "two", "three", "four"):
        setup.fake.misbehave(f"/simple/{name}/", Status(429, {"Retry-After": "120"}))
        with pytest.raises(UpstreamFailed):
            await setup.mirror.ensure(setup.index, name)
    assert len(setup.fake.seen) == 3


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "20", 20.0),
        (503, " 0 ", 0.0),
        (503, "Wed, 25 Nov 2026 10:00:30 GMT", 30.0),
        (503, "Wed, 25 Nov 2026 09:00:30 GMT", 0.0),
        (429, "99999999999999999999", 3600.0),
        (429, "soon", None),
        (429, "-3", None),
        (429, None, None),
        (500, "20", None),
        (200, "20", None),
    ],
)
def test_how_long_an_upstream_wants_to_be_left_alone(status: int, value: str | None, seconds: float | None) -> None:
    now = datetime(2026, 11, 25, 10, tzinfo=UTC).timestamp()
    assert retry_after(Head(status, value), now) == seconds


@in_reactor
async def test_one_failing_project_does_not_close_the_way_to_the_others(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.misbehave("/simple/bad/", Status(500))
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "bad")
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"


@in_reactor
async def test_R67_R59_an_upstreams_404_is_remembered_for_a_short_while(setup: Setup) -> None:
    for _ in range(3):
        with pytest.raises(UnknownProject):
            await setup.mirror.ensure(setup.index, "hello")
    assert setup.fake.count(PAGE) == 1
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.clock.shift += 61
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"


@in_reactor
async def test_a_project_without_files_stays_one_whatever_its_page_looks_like(setup: Setup) -> None:
    setup.fake.set_page("hello", b"<title>Links for hello</title>", "text/html")
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    setup.fake.set_page("hello", b"<p>Nothing was released yet.", "text/html")
    expire(setup)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"
    assert len(setup.announced) == 1
    setup.fake.set_page("other", b"<p>Nothing was released yet.", "text/html")
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "other")


@in_reactor
async def test_a_refusal_for_a_project_of_which_nothing_is_left_means_that_there_is_none(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.add_project("other", {"other-1.0.tar.gz": b"x"})
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.misbehave(PAGE, Status(404), times=1)
    setup.fake.misbehave(PAGE, Status(403))
    for _ in range(2):
        expire(setup)
        await setup.mirror.ensure(setup.index, "other")
        with pytest.raises(UnknownProject):
            await setup.mirror.ensure(setup.index, "hello")
    assert setup.fake.count(PAGE) == 3


@pytest.mark.parametrize("status", [401, 403])
@in_reactor
async def test_a_refusal_for_an_unknown_project_means_that_there_is_none_while_others_are_answered(
    setup: Setup, status: int
) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.misbehave("/simple/early/", Status(status))
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "early")
    await setup.mirror.ensure(setup.index, "hello")
    for shift, asked in ((0, 1), (30, 1), (61, 2), (0, 2)):
        setup.clock.shift += shift
        name = f"other-{setup.clock.shift:g}"
        setup.fake.misbehave(f"/simple/{name}/", Status(status))
        for _ in range(2):
            with pytest.raises(UnknownProject):
                await setup.mirror.ensure(setup.index, name)
        assert setup.fake.count(f"/simple/{name}/") == 1
        assert setup.fake.count(PAGE) == asked
    setup.fake.misbehave(PAGE, Status(status))
    setup.clock.shift += 1801
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "stale", "it has files here"
    setup.fake.misbehave("/simple/late/", Status(status))
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "late")


@pytest.mark.parametrize(("meaning", "expected"), [(403, UnknownProject), (404, UpstreamFailed), (401, UpstreamFailed)])
@in_reactor
async def test_the_index_may_say_what_a_refusal_means(setup: Setup, meaning: int, expected: type[Exception]) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    if meaning != 403:
        await setup.mirror.ensure(setup.index, "hello")
    await setup.set_up(mirror_unknown_status=meaning)
    setup.fake.misbehave("/simple/other/", Status(403))
    with pytest.raises(expected):
        await setup.mirror.ensure(setup.index, "other")


@in_reactor
async def test_a_restarted_server_finds_out_again_whether_an_upstream_answers_for_others(
    setup: Setup,
) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    pages = UpstreamPages(setup.upstream, setup.readers, setup.writer, 5.0)
    restarted = PageService(pages, setup.readers, setup.clock)
    setup.fake.misbehave("/simple/other/", Status(403))
    with pytest.raises(UnknownProject):
        await restarted.ensure(setup.index, "other")
    assert setup.fake.count(PAGE) == 2


@in_reactor
async def test_a_project_that_vanishes_upstream_stays_as_far_as_it_is_cached(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel", "hello-2.0-py3-none-any.whl": b"more"})
    await setup.mirror.ensure(setup.index, "hello")
    await setup.download("hello", WHEEL)
    await until(lambda: setup.file("hello", WHEEL).cached)
    del setup.fake.documents[PAGE]
    expire(setup)
    state = await setup.mirror.ensure(setup.index, "hello")
    assert state.kind == "revalidated"
    assert state.reason is not None
    assert setup.changes(ProjectVanished) == [ProjectVanished("root/up", "hello")]
    assert setup.project("hello").vanished
    assert [file.link.filename for file in setup.project("hello").files] == [WHEEL]
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "hit"
    expire(setup)
    await setup.mirror.ensure(setup.index, "hello")
    assert len(setup.changes(ProjectVanished)) == 1


@in_reactor
async def test_a_vanished_project_of_which_nothing_is_cached_is_unknown_until_it_is_back(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    page = setup.fake.documents.pop(PAGE)
    expire(setup)
    for _ in range(2):
        with pytest.raises(UnknownProject):
            await setup.mirror.ensure(setup.index, "hello")
    assert setup.fake.count(PAGE) == 2
    setup.fake.documents[PAGE] = page
    setup.clock.shift += 61
    assert (await setup.mirror.ensure(setup.index, "hello")).reason is None
    assert not setup.project("hello").vanished


@in_reactor
async def test_another_mirror_url_makes_pages_stale_and_forgets_validators(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    other = FakeUpstream(reactor).start()
    try:
        other.add_project("hello", {"hello-9.0-py3-none-any.whl": b"other"})
        await setup.set_up(mirror_url=other.index_url)
        assert (await setup.mirror.ensure(setup.index, "hello")).source == f"{other.url}/"
        assert other.seen[0].header("If-None-Match") is None
        assert "hello-9.0-py3-none-any.whl" in {file.link.filename for file in setup.project("hello").files}
    finally:
        await other.stop()


@in_reactor
async def test_an_index_without_a_usable_upstream_says_so(setup: Setup) -> None:
    for url in (None, "", "file://other.example/etc", "not an address", 7):
        broken = attrs.evolve(setup.index, config={"type": "mirror", "mirror_url": url})
        with pytest.raises(UpstreamFailed, match="mirror_url"):
            await setup.mirror.ensure(broken, "hello")


@in_reactor
async def test_the_expiry_of_the_index_wins(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(mirror_cache_expiry=0)
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"


@in_reactor
async def test_the_serial_header_is_kept_and_must_not_go_backwards(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.documents[PAGE].headers["X-PyPI-Last-Serial"] = "100"
    await setup.mirror.ensure(setup.index, "hello")
    assert setup.project("hello").header.last_serial == 100
    setup.fake.add_project("hello", {"hello-0.9-py3-none-any.whl": b"older"})
    setup.fake.documents[PAGE].headers["X-PyPI-Last-Serial"] = "99"
    expire(setup)
    state = await setup.mirror.ensure(setup.index, "hello")
    assert state.kind == "stale"
    assert "99" in (state.reason or "")
    tolerant = attrs.evolve(setup.index, config={**setup.index.config, "mirror_ignore_serial_header": True})
    assert (await setup.mirror.ensure(tolerant, "hello", force=True)).kind == "revalidated"


@in_reactor
async def test_R66_offline_nothing_is_asked(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(offline=True)
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await setup.mirror.ensure(setup.index, "hello", force=True)
    assert setup.fake.seen == []


@in_reactor
async def test_R49_a_file_of_a_page_never_asked_for_is_found_through_its_name(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    path = setup.file("hello", WHEEL).path
    setup.fake.add_project("other", {"other-1.0.tar.gz": b"sdist"}, hashes=())
    found = await setup.mirror.find_file(setup.index, path)
    assert found[0] == "hello"
    with pytest.raises(UnknownFile):
        await setup.mirror.find_file(setup.index, "+f/000/0000000000000/nothing-1.0.tar.gz")
    with pytest.raises(UnknownFile):
        await setup.mirror.find_file(setup.index, "+f/000/0000000000000/no project")


@in_reactor
async def test_R49_a_lock_files_path_works_on_a_mirror_that_was_made_anew(make_setup: Callable[..., Setup]) -> None:
    before, after = make_setup(), make_setup()
    before.fake.add_project("hello", {WHEEL: b"wheel"})
    await before.mirror.ensure(before.index, "hello")
    path = before.file("hello", WHEEL).path
    project, known_file = await after.mirror.find_file(after.index, path)
    assert (project, known_file.path) == ("hello", path)


@in_reactor
async def test_R49_a_file_newer_than_the_page_is_found_by_asking_again(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.add_project("hello", {WHEEL: b"wheel", "hello-2.0-py3-none-any.whl": b"more"})
    digest = "187897ce0afcf20b50ba2b37dca84a951b7046f29ed5ab94f010619f69d6e189"
    path = f"+f/{digest[:3]}/{digest[3:16]}/hello-2.0-py3-none-any.whl"
    with pytest.raises(UnknownFile):
        await setup.mirror.find_file(setup.index, path)
    setup.clock.shift += 60
    assert (await setup.mirror.find_file(setup.index, path))[1].path == path


@in_reactor
async def test_R65_an_html_page_with_base_relative_links_and_redirects_is_learned(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"}, form="html", base="/elsewhere/page/", files_at="../..")
    setup.fake.documents["/moved/hello/"] = setup.fake.documents.pop(PAGE)
    setup.fake.misbehave(PAGE, Redirect("/moved/hello/", 308))
    await setup.mirror.ensure(setup.index, "hello")
    assert setup.file("hello", WHEEL).link.url == f"{setup.fake.url}/files/hello/{WHEEL}"


@in_reactor
async def test_R61_what_a_json_page_says_of_a_file_is_known_unchanged(setup: Setup) -> None:
    said = {"requires-python": ">=3.9", "upload-time": "2026-11-01T10:00:00.000001Z", "yanked": "broken"}
    setup.fake.add_project("hello", {WHEEL: b"wheel"}, extra={WHEEL: said})
    await setup.mirror.ensure(setup.index, "hello")
    link = setup.file("hello", WHEEL).link
    assert (link.requires_python, link.upload_time, link.yanked, link.size) == (">=3.9", said["upload-time"], "broken", 5)


@in_reactor
async def test_a_large_page_is_learned(setup: Setup) -> None:
    files = {f"hello-{number}.0-py3-none-any.whl": b"" for number in range(2000)}
    setup.fake.add_project("hello", files)
    await setup.mirror.ensure(setup.index, "hello")
    assert len(setup.project("hello").files) == 2000


@in_reactor
async def test_hostile_links_of_a_page_are_not_learned_and_do_not_spoil_the_others(setup: Setup) -> None:
    bad = [
        {"filename": "../../etc/passwd", "url": "/x/passwd", "hashes": {}},
        {"filename": "a-1.0.tar.gz", "url": "file:///etc/passwd", "hashes": {}},
        {"filename": "b-1.0.tar.gz", "url": "javascript:alert(1)", "hashes": {}},
    ]
    good = {"filename": WHEEL, "url": f"/files/{WHEEL}", "hashes": {}}
    page = {"meta": {"api-version": "1.0"}, "name": "hello", "files": [*bad, good]}
    setup.fake.set_page("hello", json.dumps(page).encode(), JSON)
    await setup.mirror.ensure(setup.index, "hello")
    assert [file.link.filename for file in setup.project("hello").files] == [WHEEL]
    await pause(0)
