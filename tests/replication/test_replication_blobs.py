"""The files of a replica: fetched in advance or on demand, and never with wrong bytes."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
import treq
from twisted.internet.defer import Deferred, gatherResults

from tests.fakes.unruly_proxy import Cut, Flip, Stall, UnrulyProxy
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import pause
from tests.replication.two_servers import MIRROR, STAGE, Server
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.http.errors import RequestFailed
from twistpi.model.releases import AttachmentAdded, FileRemoved, FileUploaded

WHEEL = "demo-1.0-py3-none-any.whl"
LARGE = os.urandom(700_000)
SMALL = b"small" * 100


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def path_of(content: bytes, filename: str) -> str:
    return f"/{STAGE}/+f/{blob_address(digest(content), filename).relative}"


def asked(server: Server, start: str) -> int:
    """How many requests that begin so a server answered."""
    return sum(1 for line in server.asked if line.startswith(start))


async def have_everything_beside_a_file(server: Server, content: bytes) -> dict[BlobAddress, bytes]:
    """Give ``server`` a wheel, and all that can lie beside it; return what that is."""
    wheel, docs = blob_address(digest(content), WHEEL), io.BytesIO()
    with zipfile.ZipFile(docs, "w") as archive:
        archive.writestr("index.html", "<p>demo")
    beside = {
        metadata_address(wheel): b"Name: demo\n",
        provenance_address(digest(b"{}"), WHEEL): b"{}",
        BlobAddress(wheel.digits, "demo.toxresult-1"): b"passed",
        blob_address(digest(docs.getvalue()), "demo-1.0.doc.zip"): docs.getvalue(),
    }
    for address, bytes_there in beside.items():
        server.put(bytes_there, address)
    described, _ = server.upload(WHEEL, content)
    full = FileUploaded(
        STAGE, "demo", "1.0", WHEEL, digest(content), len(content), metadata_sha256=digest(b"Name: demo\n"), metadata_size=11,
        provenance_sha256=digest(b"{}"), provenance_size=2,
    )  # fmt: skip
    await server.commit(described, full)
    for (address, attached), kind, file in zip(list(beside.items())[2:], ("toxresult", "doczip"), (WHEEL, None), strict=True):
        path = f"+f/{address.relative}"
        change = AttachmentAdded(STAGE, "demo", "1.0", kind, address.filename, digest(attached), len(attached), path, file)
        await server.commit(change)
    return beside


@in_reactor
async def test_every_kind_of_file_comes_by_itself_uploads_and_what_lies_beside_them_and_what_mirrors_have(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {"hello-1.0.tar.gz": b"mirrored"})
    replica = make_server(primary)
    await replica.follow()
    beside = await have_everything_beside_a_file(primary, LARGE)
    await primary.get(f"/{MIRROR}/+simple/hello/")
    await primary.get(f"/{MIRROR}/{primary.file('hello', 'hello-1.0.tar.gz').path}")
    await until(lambda: replica.has(b"mirrored", "hello-1.0.tar.gz") and replica.has(LARGE, WHEEL) and replica.in_sync)
    assert {address: replica.blobs.open(address).read() for address in beside} == beside
    assert replica.queue.fetched == 6
    assert fake.count("/files/hello/hello-1.0.tar.gz") == 1


@in_reactor
async def test_what_was_named_before_the_start_is_found_and_many_small_files_share_requests(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    contents = {f"demo-{number}.zip": b"%d" % number * (50 if number % 30 else 100_000) for number in range(300)}
    await primary.commit(*(change for filename, content in contents.items() for change in primary.upload(filename, content)))
    replica = make_server(primary)
    await replica.follow()
    await until(lambda: replica.in_sync)
    assert all(replica.has(content, filename) for filename, content in contents.items())
    assert (asked(primary, "POST /+blobs"), asked(primary, "GET /+blob/")) == (2, 0)
    facts = replica.queue.facts()
    assert (facts["outstanding"], facts["failing"], facts["fetched"]) == (0, [], 300)


@in_reactor
async def test_a_replica_on_demand_fetches_nothing_unasked_and_one_of_some_indexes_only_theirs(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload(WHEEL, SMALL))
    lazy = make_server(primary, replicate_files="on-demand")
    picky, other = (make_server(primary, replicate_files=index) for index in (STAGE, MIRROR))
    for server in (lazy, picky, other):
        await server.follow()
    await until(lambda: picky.in_sync and other.in_sync and lazy.in_sync)
    assert [server.has(SMALL, WHEEL) for server in (lazy, picky, other)] == [False, True, False]


@in_reactor
async def test_thirty_clients_that_ask_a_chain_for_a_file_it_has_not_yet_share_one_fetch_on_each_way(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE))
    middle = make_server(primary, replicate_files="on-demand")
    last = make_server(middle, replicate_files="on-demand")
    await middle.follow()
    await last.follow()
    answers = await gatherResults([Deferred.fromCoroutine(last.get(path_of(LARGE, WHEEL))) for _ in range(30)])
    assert {(answer.status, answer.body == LARGE) for answer in answers} == {(200, True)}
    assert (asked(primary, "GET /+blob/"), asked(middle, "GET /+blob/")) == (1, 1)
    await until(lambda: middle.has(LARGE, WHEEL) and last.has(LARGE, WHEEL))
    ranged = await last.get(path_of(LARGE, WHEEL), Range="bytes=-5")
    assert (ranged.status, ranged.body) == (206, LARGE[-5:])


@in_reactor
async def test_everything_beside_a_file_is_brought_when_somebody_asks_for_it_documentation_too(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    _metadata, _provenance, tox_at, docs_at = beside = await have_everything_beside_a_file(primary, SMALL)
    wheel = blob_address(digest(SMALL), WHEEL)
    replica = make_server(primary, replicate_files="on-demand")
    await replica.pull()
    for path, content in (
        (f"/{STAGE}/+f/{wheel.relative}.metadata", b"Name: demo\n"),
        (f"/{STAGE}/+f/{wheel.relative}.provenance", b"{}"),
        (f"/{STAGE}/+f/{tox_at.relative}", b"passed"),
        (f"/{STAGE}/+f/{docs_at.relative}", beside[docs_at]),
        (f"/{STAGE}/demo/1.0/+doc/index.html", b"<p>demo"),
    ):
        theirs, ours = await primary.get(path), await replica.get(path)
        assert (ours.status, ours.body) == (200, content), path
        assert ours.headers.getRawHeaders("ETag") == theirs.headers.getRawHeaders("ETag")
    primary.blobs.remove(docs_at)
    replica.blobs.remove(docs_at)
    assert (await replica.get(f"/{STAGE}/demo/1.0/+doc/index.html")).status >= 500
    unchanged = await replica.get(f"/{STAGE}/+f/{wheel.relative}", If_None_Match=f'"{digest(SMALL)}"')
    assert (unchanged.status, replica.blobs.find(wheel)) == (304, None)


@in_reactor
async def test_wrong_bytes_never_complete_what_a_client_gets_and_are_not_kept(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE))
    with UnrulyProxy(primary.url) as proxy:
        proxy.will(Flip(asked=b"GET /+blob/", behind=b"\r\n\r\n", after=400_000))
        replica = make_server(primary, replicate_files="on-demand", through=proxy.url)
        await replica.pull()
        with pytest.raises(RequestFailed, match="broke before"):
            await replica.get(path_of(LARGE, WHEEL))
        assert [list(replica.blobs.walk()), os.listdir(replica.folder / "incoming")] == [[], []]
        answer = await replica.get(path_of(LARGE, WHEEL))
        assert (answer.status, answer.body == LARGE) == (200, True)
        await replica.vanish()


@in_reactor
async def test_a_client_that_leaves_does_not_stop_what_is_brought(primary: Server, make_server: Callable[..., Server]) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE))
    with UnrulyProxy(primary.url) as proxy:
        stall = Stall(asked=b"GET /+blob/", behind=b"\r\n\r\n", after=400_000)
        proxy.will(stall)
        replica = make_server(primary, replicate_files="on-demand", through=proxy.url)
        await replica.pull()
        leaving = Deferred.fromCoroutine(replica.get(path_of(LARGE, WHEEL)))
        leaving.addErrback(lambda _: None)
        await until(lambda: stall in proxy.happened)
        leaving.cancel()
        for connection in list(replica.components.connections._open):
            connection.cut()
        proxy.release()
        await until(lambda: replica.has(LARGE, WHEEL))
        await replica.vanish()


@in_reactor
async def test_a_chain_brings_small_and_large_files_through_a_middle_that_has_none_of_them(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    middle = make_server(primary, replicate_files="on-demand")
    last = make_server(middle)
    await middle.follow()
    await last.follow()
    for number in range(5):
        await primary.commit(*primary.upload(f"demo-{number}.zip", b"%d" % number))
    await primary.commit(*primary.upload(WHEEL, LARGE))
    await until(lambda: last.has(LARGE, WHEEL) and last.in_sync)
    assert all(last.has(b"%d" % number, f"demo-{number}.zip") for number in range(5))


@in_reactor
async def test_wrong_and_missing_bytes_are_not_kept_are_told_of_stop_nothing_and_come_once_they_are_right(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    contents = {"wrong-1.0.zip": b"right", "short-1.0.zip": b"as long as it is", "gone-1.0.zip": b"gone", WHEEL: LARGE}
    for filename, content in contents.items():
        await primary.commit(*primary.upload(filename, content))

    def lay(filename: str, content: bytes) -> None:
        Path(primary.blobs.path(blob_address(digest(contents[filename]), filename))).write_bytes(content)

    lay("wrong-1.0.zip", b"wrong")
    lay("short-1.0.zip", b"short")
    lay(WHEEL, bytes(len(LARGE)))
    primary.blobs.remove(blob_address(digest(b"gone"), "gone-1.0.zip"))
    replica = make_server(primary)
    await replica.follow()
    queue = replica.queue
    await until(lambda: len(queue.failures) == 4 and all(one["tries"] > 1 for one in queue.failures.facts(with_names=True)))
    assert [list(replica.blobs.walk()), os.listdir(replica.folder / "incoming")] == [[], []]
    told = {one["path"].rpartition("/")[2]: one["reason"] for one in queue.failures.facts(with_names=True)}
    assert "sha256" in told["wrong-1.0.zip"]
    assert "sha256" in told[WHEEL]
    assert told["gone-1.0.zip"]
    status = orjson.loads((await replica.get("/+status")).body)["result"]
    assert (status["files"]["failing-count"], len(status["replication-errors"]), status["replica-in-sync-at"]) == (4, 4, None)
    assert not any(filename in str(status) for filename in contents), "names are not for everybody"
    # Not by the client of servers: what that sends is never local.
    answer = await treq.get(f"{replica.url}/+status", auth=("root", ""), persistent=False)
    told_to_root = orjson.loads(await answer.content())["result"]
    assert all(any(filename in path for path in told_to_root["replication-errors"]) for filename in contents)
    wrong = await replica.get(path_of(b"right", "wrong-1.0.zip"))
    assert wrong.status == 502
    await primary.commit(*primary.upload("after-1.0.zip", b"after"))
    await until(lambda: replica.has(b"after", "after-1.0.zip"))
    await primary.commit(FileRemoved(STAGE, "demo", "gone-1.0.zip"))
    for filename in ("wrong-1.0.zip", "short-1.0.zip", WHEEL):
        lay(filename, contents[filename])
    await until(lambda: replica.in_sync)
    assert [replica.has(content, filename) for filename, content in contents.items()] == [True, True, False, True]


@in_reactor
async def test_a_large_file_goes_on_where_it_was_cut_and_a_small_one_that_was_cut_or_falsified_comes_again(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE))
    await primary.commit(*primary.upload("a-1.0.zip", SMALL), *primary.upload("b-1.0.zip", SMALL * 2))
    with UnrulyProxy(primary.url) as proxy:
        proxy.will(Cut(asked=b"GET /+blob/", behind=b"\r\n\r\n", after=300_000))
        proxy.will(Cut(asked=b"POST /+blobs", behind=b"a-1.0.zip\n", after=100))
        proxy.will(Flip(asked=b"POST /+blobs", behind=b"b-1.0.zip\n", after=100))
        replica = make_server(primary, through=proxy.url)
        await replica.follow()
        await until(lambda: replica.in_sync)
        assert replica.has(LARGE, WHEEL)
        assert replica.has(SMALL, "a-1.0.zip")
        assert replica.has(SMALL * 2, "b-1.0.zip")
        ranges = [line for line in primary.asked if line.startswith("GET /+blob/") and "bytes=" in line]
        assert len(ranges) == 1, primary.asked
        await replica.vanish()
        replica.queue.stop()


@in_reactor
async def test_a_client_gets_the_rest_of_a_file_whose_primary_went_away_and_came_back(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE))
    with UnrulyProxy(primary.url) as proxy:
        cut = Cut(asked=b"GET /+blob/", behind=b"\r\n\r\n", after=400_000)
        proxy.will(cut)
        replica = make_server(primary, replicate_files="on-demand", through=proxy.url)
        await replica.pull()
        getting = Deferred.fromCoroutine(replica.get(path_of(LARGE, WHEEL)))
        await until(lambda: cut in proxy.happened)
        await primary.vanish()
        await pause(0.3)
        assert not getting.called
        primary.listen()
        answer = await getting
        assert (answer.status, answer.body == LARGE) == (200, True)
        assert [line for line in primary.asked if "bytes=" in line]
        await replica.vanish()


@in_reactor
async def test_while_the_primary_is_gone_a_file_that_is_not_here_is_said_to_be_out_of_reach_and_the_queue_waits(
    primary: Server, make_server: Callable[..., Server]
) -> None:
    await primary.commit(*primary.upload(WHEEL, SMALL), *primary.upload("other-1.0.zip", b"other"))
    replica = make_server(primary)
    await replica.pull()
    await primary.vanish()
    replica.queue.start()
    answer = await replica.get(path_of(SMALL, WHEEL))
    assert answer.status == 503
    assert b"not on this server yet" in answer.body
    assert answer.headers.hasHeader("Retry-After")
    await until(lambda: replica.queue.last_error is not None)
    assert (replica.queue.outstanding, len(replica.queue.failures)) == (2, 0)
    primary.listen()
    await until(lambda: replica.in_sync)
    assert replica.has(SMALL, WHEEL)


@in_reactor
async def test_what_is_on_the_disk_or_in_the_search_path_is_not_fetched(
    primary: Server, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE), *primary.upload("here-1.0.zip", SMALL))
    await primary.commit(*primary.upload("flat-1.0.zip", b"flat"))
    folder = tmp_path / "stray"
    stray = folder / "+files" / blob_address(digest(LARGE), WHEEL).relative
    stray.parent.mkdir(parents=True)
    stray.write_bytes(LARGE)
    (folder / "flat-1.0.zip").write_bytes(b"flat")
    queued = make_server(primary, file_search_path=str(folder))
    lazy = make_server(primary, file_search_path=str(folder), replicate_files="on-demand")
    queued.put(SMALL, blob_address(digest(SMALL), "here-1.0.zip"))
    for server in (queued, lazy):
        await server.follow()
    await until(lambda: queued.in_sync)
    assert queued.has(LARGE, WHEEL)
    assert queued.has(b"flat", "flat-1.0.zip")
    assert (await lazy.get(path_of(LARGE, WHEEL))).body == LARGE
    assert (asked(primary, "POST /+blobs"), asked(primary, "GET /+blob/")) == (0, 0)


@in_reactor
async def test_a_full_disk_makes_the_queue_wait_and_nothing_is_lost(primary: Server, make_server: Callable[..., Server]) -> None:
    await primary.commit(*primary.upload(WHEEL, LARGE), *primary.upload("a-1.0.zip", b"a"), *primary.upload("b-1.0.zip", b"b"))
    replica = make_server(primary)
    replica.system.has_room = False
    await replica.follow()
    await until(lambda: "No space left" in (replica.queue.last_error or ""))
    assert (replica.queue.outstanding, len(replica.queue.failures)) == (3, 0)
    replica.system.has_room = True
    await until(lambda: replica.in_sync)
    assert replica.has(LARGE, WHEEL)


@in_reactor
async def test_what_a_mirror_had_and_the_primary_lost_comes_from_the_upstream_again_without_anybody_asking(
    primary: Server, make_server: Callable[..., Server], fake: FakeUpstream
) -> None:
    wheel, content = "hello-1.0-py3-none-any.whl", make_wheel("hello", "1.0")
    fake.add_project("hello", {wheel: content, "hello-1.0.tar.gz": LARGE})
    await primary.get(f"/{MIRROR}/+simple/hello/")
    for filename in (wheel, "hello-1.0.tar.gz"):
        assert (await primary.get(f"/{MIRROR}/{primary.file('hello', filename).path}")).status == 200
    metadata = f"/{MIRROR}/{primary.file('hello', wheel).path}.metadata"
    told = await primary.get(metadata)
    await until(lambda: primary.file("hello", "hello-1.0.tar.gz").cached)
    await primary.commit(*primary.upload("mine-1.0.zip", b"mine"))
    for folder in Path(primary.folder, "+files").iterdir():
        shutil.rmtree(folder)
    middle = make_server(primary)
    last = make_server(middle)
    await middle.pull()
    await last.follow()
    await until(lambda: last.queue.outstanding == 1 and not last.queue.is_searching)
    for server in (primary, last):
        assert server.has(content, wheel)
        assert server.has(LARGE, "hello-1.0.tar.gz")
    assert last.blobs.digest(metadata_address(blob_address(digest(content), wheel))) == digest(told.body)
    ((lost,), count) = last.queue.failures.facts(with_names=True), len(last.queue.failures)
    assert isinstance(lost, dict)
    assert (count, "mine-1.0.zip" in str(lost["path"])) == (1, True)
    # Metadata that is asked for before the wheel is back is read from a part of the wheel.
    whole = [request.path for request in fake.seen if request.header("Range") is None]
    assert whole.count(f"/files/hello/{wheel}") == whole.count("/files/hello/hello-1.0.tar.gz") == 2
