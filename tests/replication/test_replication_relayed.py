"""What a replica serves of mirrors: asked of its primary, once for all, and served from here when that is gone."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.fakes.upstream import FakeUpstream, Held, Silent, Status
from tests.fakes.wheels import make_wheel
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import pause
from tests.replication.two_servers import MIRROR, Server, reactor
from twistpi.model.errors import UnknownProject, UpstreamUnreachable

SDIST = "hello-1.0.tar.gz"
CONTENT = bytes(range(256)) * 2000
PAGE = f"/{MIRROR}/+simple/hello/"


@in_reactor
async def test_a_page_is_asked_of_the_upstream_once_for_a_chain_of_servers(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    middle = make_server(primary)
    last, beside = make_server(middle), make_server(primary)
    await middle.pull()
    await last.pull()
    await beside.pull()
    answers = await gatherResults([Deferred.fromCoroutine(server.get(PAGE)) for server in (last, beside, middle, primary) * 3])
    assert {(answer.status, SDIST.encode() in answer.body) for answer in answers} == {(200, True)}
    assert fake.count("/simple/hello/") == 1
    assert last.changelog.last == primary.changelog.last


@in_reactor
async def test_a_page_that_is_fresh_here_costs_no_question_and_one_that_is_old_is_refreshed_through_the_primary(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    replica = make_server(primary)
    await replica.pull()
    first = await replica.mirrors.pages.ensure(replica.index, "hello")
    await primary.vanish()
    again = await replica.mirrors.pages.ensure(replica.index, "hello")
    assert (first.kind, again.kind, again.reason) == ("miss", "hit", None)
    primary.listen()
    fake.add_project("hello", {SDIST: CONTENT, "hello-2.0.tar.gz": b"two"})
    for server in (primary, replica):
        server.clock.shift = 3600.0
    renewed = await replica.mirrors.pages.ensure(replica.index, "hello")
    assert (renewed.kind, fake.count("/simple/hello/")) == ("revalidated", 2)
    assert replica.file("hello", "hello-2.0.tar.gz").link.size == 3


@in_reactor
async def test_a_page_is_answered_when_the_log_here_has_what_the_primary_learned(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    replica = make_server(primary)
    await replica.pull()
    replica.follows = False
    asking = Deferred.fromCoroutine(replica.get(PAGE))
    await until(lambda: primary.readers.get().has_project(MIRROR, "hello"))
    assert not asking.called
    await replica.pull()
    answer = await asking
    assert (answer.status, SDIST.encode() in answer.body) == (200, True)
    fake.add_project("late", {"late-1.0.tar.gz": b"late"})
    asking = Deferred.fromCoroutine(replica.get(f"/{MIRROR}/+simple/late/"))
    await until(lambda: primary.readers.get().has_project(MIRROR, "late"))
    while not asking.called:
        replica.clock.elapse(10.0)
        await pause(0.01)
    late = await asking
    assert (late.status, b"is not here yet" in late.body) == (503, True)


@in_reactor
async def test_with_the_primary_gone_what_is_known_is_served_stale_and_what_is_not_is_said_to_be_out_of_reach(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    replica = make_server(primary)
    await replica.pull()
    assert (await replica.get(PAGE)).status == 200
    await primary.vanish()
    replica.clock.shift = 86400.0 * 365
    stale = await replica.get(PAGE)
    (status,) = stale.headers.getRawHeaders("Cache-Status") or [""]
    assert (stale.status, SDIST.encode() in stale.body) == (200, True)
    assert "the primary cannot be reached" in status
    with pytest.raises(UpstreamUnreachable, match="the primary cannot be reached"):
        await replica.mirrors.pages.ensure(replica.index, "other")
    assert (await replica.get(f"/{MIRROR}/+simple/other/")).status == 503
    assert fake.count("/simple/other/") == 0


@in_reactor
async def test_what_the_upstream_does_not_have_or_fails_to_tell_is_told_by_the_replica_in_the_same_words(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    replica = make_server(primary)
    await replica.pull()
    fake.misbehave("/simple/broken/", Status(500))
    for project, status in (("nothing", 404), ("broken", 502)):
        theirs, ours = await primary.get(f"/{MIRROR}/+simple/{project}/"), await replica.get(f"/{MIRROR}/+simple/{project}/")
        assert (theirs.status, ours.status) == (status, status)
        assert ours.body == theirs.body
    with pytest.raises(UnknownProject):
        await replica.mirrors.pages.ensure(replica.index, "nothing")
    assert fake.count("/simple/nothing/") == 1


@in_reactor
async def test_an_upstream_that_says_later_says_so_to_the_clients_of_a_replica_too(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    replica = make_server(primary)
    await replica.pull()
    later = Status(429, {"Retry-After": "120"})
    fake.add_project("hello", {SDIST: CONTENT})
    await replica.get(PAGE)
    path = f"/{MIRROR}/{replica.file('hello', SDIST).path}"
    for project in ("/simple/busy/", "/simple/", f"/files/hello/{SDIST}"):
        fake.misbehave(project, later)
    for server in (replica, primary):
        for asked in (f"/{MIRROR}/+simple/busy/", f"/{MIRROR}/+simple/", path):
            answer = await server.get(asked)
            (seconds,) = answer.headers.getRawHeaders("Retry-After") or ["0"]
            assert (answer.status, 100 <= int(seconds) <= 120) == (503, True), asked
    assert [fake.count(project) for project in ("/simple/busy/", "/simple/", f"/files/hello/{SDIST}")] == [1, 1, 1]


@in_reactor
async def test_one_page_that_the_upstream_is_silent_about_leaves_the_way_to_the_others_open_on_a_replica(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    replica = make_server(primary)
    await replica.pull()
    fake.add_project("hello", {SDIST: CONTENT})
    fake.misbehave("/simple/slow/", Silent())
    asking = Deferred.fromCoroutine(replica.get(f"/{MIRROR}/+simple/slow/"))
    await until(lambda: fake.held)
    primary.clock.elapse(60.0)
    slow = await asking
    assert (slow.status, b"no answer within" in slow.body) == (503, True)
    assert (await replica.get(PAGE)).status == 200


@in_reactor
async def test_thirty_clients_of_a_chain_share_one_fetch_of_a_cold_file_and_every_server_keeps_it(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    middle = make_server(primary)
    last = make_server(middle)
    await middle.pull()
    await last.pull()
    page = await last.get(PAGE)
    assert (page.status, SDIST.encode() in page.body) == (200, True), page.body
    held = fake.misbehave(f"/files/hello/{SDIST}", Held())
    path = f"/{MIRROR}/{last.file('hello', SDIST).path}"
    asking = [Deferred.fromCoroutine(server.get(path)) for server in (last, middle, primary) * 10]
    await until(lambda: fake.count(f"/files/hello/{SDIST}") == 1)
    assert isinstance(held, Held)
    held.release()
    answers = await gatherResults(asking)
    assert {(answer.status, answer.body == CONTENT) for answer in answers} == {(200, True)}
    assert fake.count(f"/files/hello/{SDIST}") == 1
    await until(lambda: all(server.has(CONTENT, SDIST) for server in (primary, middle, last)))
    await until(lambda: last.file("hello", SDIST).cached)
    ranged = await last.get(path, Range="bytes=100-199")
    assert (ranged.status, ranged.body) == (206, CONTENT[100:200])


@in_reactor
async def test_with_the_primary_gone_a_file_comes_from_the_upstream_itself_is_kept_and_found_again(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    bare = gzip.compress(b"no digest")
    fake.add_project("bare", {"bare-1.0.tar.gz": bare}, hashes=())
    replica = make_server(primary)
    await replica.pull()
    for project in ("hello", "bare"):
        assert (await replica.get(f"/{MIRROR}/+simple/{project}/")).status == 200
    await primary.vanish()
    for project, filename, content in (("hello", SDIST, CONTENT), ("bare", "bare-1.0.tar.gz", bare)):
        path = f"/{MIRROR}/{replica.file(project, filename).path}"
        for _ in range(2):
            answer = await replica.get(path)
            assert (answer.status, answer.body) == (200, content)
            await until(lambda: replica.has(content, filename))  # noqa: B023
        assert fake.count(f"/files/{project}/{filename}") == 1
    assert replica.changelog.last == primary.changelog.last


@pytest.mark.parametrize("is_primary_gone", [False, True])
@in_reactor
async def test_a_file_whose_link_died_is_had_by_the_one_that_the_upstreams_page_has_now(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream, is_primary_gone: bool
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    replica = make_server(primary)
    await replica.pull()
    await replica.get(PAGE)
    fake.add_project("hello", {SDIST: CONTENT}, files_at="/moved")
    fake.add_file(f"/moved/files/hello/{SDIST}", CONTENT)
    fake.misbehave(f"/files/hello/{SDIST}", Status(404))
    if is_primary_gone:
        await primary.vanish()
    answer = await replica.get(f"/{MIRROR}/{replica.file('hello', SDIST).path}")
    assert (answer.status, answer.body == CONTENT) == (200, True)


@in_reactor
async def test_without_a_digest_a_file_is_what_the_newest_query_says(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    old, new = gzip.compress(b"old"), gzip.compress(b"new")
    for number, content in enumerate((old, new)):
        address = f"/files/hello/{SDIST}?id={number}"
        fake.add_file(address, content)
        fake.add_project("hello", {SDIST: content}, hashes=(), sizes=False, extra={SDIST: {"url": address}})
        await primary.mirrors.pages.ensure(primary.index, "hello", force=True)
    replica = make_server(primary)
    await replica.pull()
    await primary.vanish()
    answer = await replica.get(f"/{MIRROR}/{replica.file('hello', SDIST).path}")
    assert (answer.status, answer.body) == (200, new)


@in_reactor
async def test_a_primary_that_answers_but_cannot_help_is_as_good_as_gone_and_without_anybody_the_reason_is_told(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {SDIST: CONTENT})
    broken = FakeUpstream(reactor).start()  # answers, but has none of these routes
    replica = make_server(primary)
    await replica.pull()
    await replica.get(PAGE)
    stranger = make_server(primary, through=broken.url)
    await stranger.pull()
    path = f"/{MIRROR}/{replica.file('hello', SDIST).path}"
    answer = await stranger.get(path)
    assert (answer.status, answer.body == CONTENT) == (200, True)
    fake.add_project("other", {"other-1.0.zip": CONTENT[:1000]})
    await replica.get(f"/{MIRROR}/+simple/other/")
    await stranger.pull()
    await broken.stop()
    await fake.stop()
    gone = await stranger.get(f"/{MIRROR}/{replica.file('other', 'other-1.0.zip').path}")
    assert (gone.status, b"cannot be reached" in gone.body) == (503, True)
    lonely = make_server(primary, through="http://127.0.0.1:9", offline=True)
    await lonely.pull()
    alone = await lonely.get(f"/{MIRROR}/{replica.file('other', 'other-1.0.zip').path}")
    assert (alone.status, b"not on this server yet" in alone.body) == (503, True)


@in_reactor
async def test_metadata_is_found_by_the_primary_and_with_that_gone_it_is_found_here(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    wheels = {f"hello-{number}.0-py3-none-any.whl": make_wheel("hello", f"{number}.0") for number in (1, 2)}
    fake.add_project("hello", wheels)
    replica = make_server(primary)
    await replica.pull()
    await replica.get(PAGE)
    first, second = wheels
    path = f"/{MIRROR}/{replica.file('hello', first).path}.metadata"
    answer = await replica.get(path)
    assert (answer.status, b"Name: hello" in answer.body) == (200, True)
    assert replica.file("hello", first).metadata_sha256 is not None
    assert (await primary.get(path)).body == answer.body
    await primary.vanish()
    answer = await replica.get(f"/{MIRROR}/{replica.file('hello', second).path}.metadata")
    assert (answer.status, b"Version: 2.0" in answer.body) == (200, True)
    asked = len(fake.seen)
    assert (await replica.get(f"/{MIRROR}/{replica.file('hello', second).path}.metadata")).body == answer.body
    assert len(fake.seen) == asked
    assert replica.file("hello", second).metadata_sha256 is None


@in_reactor
async def test_the_name_list_is_the_primarys_confirmed_by_its_tag_and_stale_when_that_is_gone(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.set_names(["one", "two"])
    replica = make_server(primary)
    await replica.pull()
    path = f"/{MIRROR}/+simple/"
    first = await replica.get(path, Accept="application/vnd.pypi.simple.v1+json")
    theirs = await primary.get(path, Accept="application/vnd.pypi.simple.v1+json")
    assert (first.status, first.body) == (200, theirs.body)
    assert fake.count("/simple/") == 1
    for server in (primary, replica):
        server.clock.shift = 3600.0
    renewed = await replica.mirrors.names.ensure(replica.index)
    assert (renewed.kind, renewed.count) == ("revalidated", 2)
    assert renewed.age < 5
    await primary.vanish()
    replica.clock.shift = 7200.0
    stale = await replica.mirrors.names.ensure(replica.index)
    assert (stale.kind, stale.count) == ("stale", 2)
    assert "the primary cannot be reached" in (stale.reason or "")
