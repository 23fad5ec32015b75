"""Files on their way into the cache: one fetch, many readers, broken connections, wrong bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from tests.fakes.upstream import (
    Chunked,
    CutOff,
    FallsSilent,
    Fault,
    Garbage,
    Hangup,
    Held,
    Redirect,
    Silent,
    Status,
    WithHeaders,
    WrongBody,
)
from tests.fakes.wheels import make_wheel
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import Setup, expect_cancellation, pause, read_all, start
from tests.mirror.test_mirror_core_metadata import ask
from twistpi.mirror.download import HELD_BACK
from twistpi.model.changes import FileCached
from twistpi.model.errors import UnknownFile, UpstreamFailed, UpstreamUnreachable, WrongBytes
from twistpi.model.releases import FileRemoved

WHEEL = "hello-1.0-py3-none-any.whl"
FILE = f"/files/hello/{WHEEL}"
CONTENT = bytes(os.urandom(1000)) * 700
"""700,000 bytes."""
ARCHIVE = make_wheel("hello", "1.0", payload=CONTENT)


async def learn(setup: Setup, content: bytes = CONTENT, **options: object) -> None:
    """Have the mirror know one project with one file."""
    setup.fake.add_project("hello", {WHEEL: content}, **options)  # type: ignore[arg-type]
    await setup.mirror.ensure(setup.index, "hello")


async def cached(setup: Setup) -> FileCached:
    """Wait until the file is recorded."""
    await until(lambda: bool(setup.changes(FileCached)))
    change = setup.changes(FileCached)[0]
    assert isinstance(change, FileCached)
    return change


async def nothing_was_kept(setup: Setup) -> None:
    """No trace of a download is left."""
    await setup.quiet()
    assert setup.changes(FileCached) == []
    assert list(setup.blobs.walk()) == []


@pytest.mark.parametrize("size", [0, 1, HELD_BACK - 1, HELD_BACK, HELD_BACK + 1, 700_000])
@in_reactor
async def test_R46_a_file_is_read_while_it_is_cached_and_recorded_then(setup: Setup, size: int) -> None:
    content = CONTENT[:size]
    await learn(setup, content)
    assert await setup.download("hello", WHEEL) == content
    change = await cached(setup)
    digest = hashlib.sha256(content).hexdigest()
    assert change == FileCached("root/up", "hello", WHEEL, digest, size)
    assert [(address.relative, kept) for address, kept in setup.blobs.walk()] == [(f"{digest[:3]}/{digest[3:16]}/{WHEEL}", size)]
    assert setup.incoming() == []
    assert setup.file("hello", WHEEL).cached


@in_reactor
async def test_R46_concurrent_readers_share_one_fetch(setup: Setup) -> None:
    await learn(setup)
    everybody = await gatherResults([start(setup.download("hello", WHEEL)) for _ in range(30)])
    assert set(everybody) == {CONTENT}
    assert setup.fake.count(FILE) == 1


@in_reactor
async def test_a_reader_that_leaves_does_not_stop_the_caching(setup: Setup) -> None:
    await learn(setup)
    held = setup.fake.misbehave(FILE, Held())
    assert isinstance(held, Held)
    reading = start(setup.download("hello", WHEEL))
    reading.addErrback(expect_cancellation)
    await until(lambda: bool(held.waiting))
    reading.cancel()
    held.release()
    await cached(setup)


@in_reactor
async def test_R46_bytes_can_be_read_before_the_upstream_sent_all(setup: Setup) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, FallsSilent(600_000))
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    assert await download.headers() == 700_000
    download.retain()
    await until(lambda: download.available == 600_000)
    assert os.pread(download.fileno(), 600_000, 0) == CONTENT[:600_000]
    download.release()


@in_reactor
async def test_the_last_bytes_are_held_back_until_all_are_verified(setup: Setup) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, FallsSilent(700_000 - 10), times=1)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    await until(lambda: download.available >= 700_000 - HELD_BACK)
    assert download.available == 700_000 - HELD_BACK
    await setup.wait_until_asked_again()
    await until(lambda: download.available > 700_000 - HELD_BACK)
    assert download.available == 700_000


@in_reactor
async def test_R44_a_reader_waits_for_the_offset_it_needs(setup: Setup) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, Chunked(piece=50_000, pause=0.005))
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    assert await download.wait(400_000) > 400_000
    assert await download.wait(700_000) == 700_000


@in_reactor
async def test_without_any_length_the_size_is_known_at_the_end(setup: Setup) -> None:
    await learn(setup, sizes=False)
    setup.fake.misbehave(FILE, Chunked())
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    assert await download.headers() is None
    assert await read_all(download) == CONTENT
    assert (await cached(setup)).size == len(CONTENT)


@pytest.mark.parametrize("breaks", [1, 3])
@in_reactor
async def test_R47_a_broken_connection_is_taken_up_by_range(setup: Setup, breaks: int) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, CutOff(150_000), times=breaks)
    assert await setup.download("hello", WHEEL) == CONTENT
    ranges = [seen.header("Range") for seen in setup.fake.seen if seen.path == FILE]
    assert ranges == [None, *(f"bytes={150_000 * attempt}-" for attempt in range(1, breaks + 1))]
    assert setup.fake.seen[-1].header("If-Range") == setup.fake.documents[FILE].etag


@in_reactor
async def test_R47_silence_in_the_middle_is_a_broken_connection(setup: Setup) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, FallsSilent(150_000), times=1)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    await until(lambda: download.available == 150_000)
    await setup.keep_waiting()
    assert await read_all(download) == CONTENT


@in_reactor
async def test_R47_an_upstream_without_ranges_sends_all_again_and_it_must_be_the_same(setup: Setup) -> None:
    await learn(setup)
    setup.fake.documents[FILE].ranges = False
    setup.fake.misbehave(FILE, CutOff(150_000), times=1)
    assert await setup.download("hello", WHEEL) == CONTENT
    assert (await cached(setup)).size == len(CONTENT)


@pytest.mark.parametrize(
    "fault", [Status(416), Status(206), *(Status(206, {"Content-Range": said}) for said in ("bytes 0-9/700000", "rubbish"))]
)
@in_reactor
async def test_R47_an_upstream_that_cannot_go_on_is_asked_for_the_whole_file(setup: Setup, fault: Fault) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, CutOff(150_000), times=1)
    setup.fake.misbehave(FILE, fault, times=1)
    assert await setup.download("hello", WHEEL) == CONTENT
    ranges = [seen.header("Range") for seen in setup.fake.seen if seen.path == FILE]
    assert ranges == [None, "bytes=150000-", None]


@pytest.mark.parametrize("hashes", [("sha256",), ()])
@in_reactor
async def test_R47_without_validators_a_range_is_asked_for_only_if_a_digest_will_tell(
    setup: Setup, hashes: tuple[str, ...]
) -> None:
    await learn(setup, ARCHIVE, hashes=hashes)
    setup.fake.documents[FILE].etag = setup.fake.documents[FILE].last_modified = None
    setup.fake.misbehave(FILE, CutOff(150_000), times=1)
    assert await setup.download("hello", WHEEL) == ARCHIVE
    assert setup.fake.seen[-1].header("Range") == ("bytes=150000-" if hashes else None)
    assert setup.fake.seen[-1].header("If-Range") is None


@in_reactor
async def test_R47_a_file_that_changed_between_two_attempts_is_not_glued_together(setup: Setup) -> None:
    await learn(setup, hashes=())
    setup.fake.misbehave(FILE, CutOff(150_000), times=1)
    setup.fake.misbehave(FILE, WrongBody(bytes(700_000)))
    setup.fake.documents[FILE].ranges = False
    with pytest.raises(WrongBytes, match="changed"):
        await setup.download("hello", WHEEL)
    await nothing_was_kept(setup)


@in_reactor
async def test_R47_an_upstream_that_never_gets_far_is_given_up(setup: Setup) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, CutOff(150_000), times=1)
    setup.fake.misbehave(FILE, Hangup())
    with pytest.raises(UpstreamFailed):
        await setup.download("hello", WHEEL)
    await nothing_was_kept(setup)


WRONG: dict[str, Fault] = {
    "other bytes": WrongBody(),
    "other bytes at the end": WrongBody(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])),
    "fewer bytes": WrongBody(CONTENT[:-1]),
    "more bytes": WrongBody(CONTENT + b"more"),
    "an error page": WrongBody(b"<html>please log in</html>"),
}


@pytest.mark.parametrize("what", WRONG)
@in_reactor
async def test_R48_wrong_bytes_are_never_completed_and_nothing_of_them_is_kept(setup: Setup, what: str) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, WRONG[what])
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    with pytest.raises(WrongBytes) as caught:
        await read_all(download)
    assert WHEEL in str(caught.value)
    assert download.available <= 700_000 - HELD_BACK
    await nothing_was_kept(setup)
    setup.fake.behave(FILE)
    assert await setup.download("hello", WHEEL) == CONTENT


@pytest.mark.parametrize("what", ["other bytes", "more bytes", "fewer bytes"])
@in_reactor
async def test_R48_wrong_bytes_without_announced_length_are_found_too(setup: Setup, what: str) -> None:
    await learn(setup)

    class Both(Fault):
        def answer(self, upstream: object, request: object, document: object) -> None:
            right = setup.fake.documents[FILE].body
            fault = WRONG[what]
            assert isinstance(fault, WrongBody)
            setup.fake.documents[FILE].body = bytes(len(right)) if fault.body is None else fault.body
            Chunked().answer(setup.fake, request, setup.fake.documents[FILE])
            setup.fake.documents[FILE].body = right

    setup.fake.misbehave(FILE, Both())
    with pytest.raises((WrongBytes, UpstreamFailed)):
        await setup.download("hello", WHEEL)
    await nothing_was_kept(setup)


@in_reactor
async def test_R48_any_digest_the_page_gives_is_checked(setup: Setup) -> None:
    await learn(setup, hashes=("md5",))
    setup.fake.misbehave(FILE, WrongBody(), times=1)
    with pytest.raises(WrongBytes, match="md5"):
        await setup.download("hello", WHEEL)
    assert await setup.download("hello", WHEEL) == CONTENT
    change = await cached(setup)
    assert change.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert setup.file("hello", WHEEL).cached


@in_reactor
async def test_a_file_without_digest_is_kept_as_it_comes(setup: Setup) -> None:
    await learn(setup, ARCHIVE, hashes=(), sizes=False)
    assert setup.file("hello", WHEEL).path.startswith("+e/")
    assert await setup.download("hello", WHEEL) == ARCHIVE
    await cached(setup)
    assert setup.file("hello", WHEEL).sha256 == hashlib.sha256(ARCHIVE).hexdigest()


@pytest.mark.parametrize("body", [b"", b"<!DOCTYPE html><title>Sign in</title>", ARCHIVE[:-30], ARCHIVE[: len(ARCHIVE) // 2]])
@in_reactor
async def test_without_a_digest_only_the_archive_that_a_files_name_says_is_kept(setup: Setup, body: bytes) -> None:
    await learn(setup, ARCHIVE, hashes=(), sizes=False)
    setup.fake.misbehave(FILE, WrongBody(body))
    with pytest.raises(WrongBytes):
        await setup.download("hello", WHEEL)
    with pytest.raises(WrongBytes):
        await ask(setup)  # for its metadata: not 404, as if it had none
    await nothing_was_kept(setup)
    setup.fake.behave(FILE)
    assert await setup.download("hello", WHEEL) == ARCHIVE


FAILING: dict[str, tuple[Fault, type[Exception]]] = {
    "404": (Status(404), UnknownFile),
    "410": (Status(410), UnknownFile),
    "401": (Status(401), UpstreamFailed),
    "500": (Status(500), UpstreamFailed),
    "206 unasked": (Status(206), UpstreamFailed),
    "garbage": (Garbage(), UpstreamFailed),
    "hangs up": (Hangup(), UpstreamFailed),
    "silent": (Silent(), UpstreamUnreachable),
    "redirects in circles": (Redirect(FILE), UpstreamFailed),
    "redirects to a file": (Redirect("file:///etc/passwd"), UpstreamFailed),
}


@pytest.mark.parametrize("what", FAILING)
@in_reactor
async def test_R67_a_file_the_upstream_cannot_give_is_an_error_that_says_so(setup: Setup, what: str) -> None:
    await learn(setup)
    fault, expected = FAILING[what]
    setup.fake.misbehave(FILE, fault)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    if isinstance(fault, Silent):
        await setup.keep_waiting()
    with pytest.raises(expected):
        await download.headers()
    with pytest.raises(expected):
        await download.wait(0)
    with pytest.raises(expected):
        await download.finished()
    await nothing_was_kept(setup)


@in_reactor
async def test_a_file_behind_a_redirect_to_another_host_is_cached(setup: Setup) -> None:
    await learn(setup)
    setup.fake.documents["/storage/x"] = setup.fake.documents[FILE]
    setup.fake.misbehave(FILE, Redirect(f"http://localhost:{setup.fake.port}/storage/x"))
    assert await setup.download("hello", WHEEL) == CONTENT


@in_reactor
async def test_R45_a_bogus_content_encoding_of_a_file_is_passed_over(setup: Setup) -> None:
    await learn(setup)
    setup.fake.misbehave(FILE, WithHeaders({"Content-Encoding": "gzip"}))
    assert await setup.download("hello", WHEEL) == CONTENT
    assert setup.fake.seen[-1].header("Accept-Encoding") == "identity"


@in_reactor
async def test_bytes_another_index_brought_are_not_fetched_again(setup: Setup) -> None:
    await learn(setup)
    await setup.download("hello", WHEEL)
    await cached(setup)
    known_file = setup.file("hello", WHEEL)
    download = setup.downloads.open(setup.index, "hello", known_file)
    assert await read_all(download) == CONTENT
    assert (await download.finished()).size == len(CONTENT)
    assert setup.fake.count(FILE) == 1


@pytest.mark.directory("damages and removes a file in the directory")
@pytest.mark.parametrize("hashes", [("sha256",), ()])
@in_reactor
async def test_what_is_thrown_away_is_fetched_again_and_damaged_bytes_are_not_taken_for_it(
    setup: Setup, hashes: tuple[str, ...]
) -> None:
    await learn(setup, ARCHIVE, hashes=hashes)
    assert await setup.download("hello", WHEEL) == ARCHIVE
    await cached(setup)
    ((address, _size),) = setup.blobs.walk()
    with open(setup.blobs.path(address), "r+b") as file:
        file.write(b"damage")
    await setup.commit(FileRemoved(setup.index.name, "hello", WHEEL))
    assert not setup.file("hello", WHEEL).cached
    if not hashes:
        setup.blobs.remove(address)
    assert await setup.download("hello", WHEEL) == ARCHIVE
    assert setup.fake.count(FILE) == 2


@in_reactor
async def test_offline_nothing_is_fetched(make_setup: Callable[..., Setup]) -> None:
    setup, offline = make_setup(), make_setup(offline=True)
    await learn(setup)
    with pytest.raises(UpstreamUnreachable, match="offline"):
        await offline.downloads.open(offline.index, "hello", setup.file("hello", WHEEL)).headers()
    assert setup.fake.count(FILE) == 0


@in_reactor
async def test_a_descriptor_stays_open_while_somebody_reads(setup: Setup) -> None:
    await learn(setup)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    await download.headers()
    download.retain()
    await download.finished()
    assert os.pread(download.fileno(), len(CONTENT), 0) == CONTENT
    number = download.fileno()
    download.release()
    with pytest.raises((OSError, ValueError)):
        os.fstat(number)
    await pause(0)


class Incoming:
    """A file on its way, of which a test changes something."""

    size = 0

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def receive_into(setup: Setup, kind: type[Incoming]) -> list[Incoming]:
    """Have files on their way be of ``kind``; those that were made."""
    real, made = setup.blobs, []

    class Blobs:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def incoming(self) -> Incoming:
            made.append(kind(real.incoming()))
            return made[-1]

    files: Any = setup.downloads
    files._blobs = Blobs()
    return made


@in_reactor
async def test_a_file_that_is_given_up_is_closed_only_when_no_thread_writes_to_it_any_more(setup: Setup) -> None:
    await learn(setup)
    begun, go_on, calls = Event(), Event(), []

    class Slow(Incoming):
        def write(self, data: bytes) -> None:
            begun.set()
            go_on.wait(5)
            calls.append("written")
            self.real.write(data)

        def close(self) -> None:
            calls.append("closed")
            self.real.close()

    receive_into(setup, Slow)
    download = setup.downloads.open(setup.index, "hello", setup.file("hello", WHEEL))
    await until(begun.is_set)
    setup.downloads.stop()
    await pause(0.05)
    assert calls == []
    go_on.set()
    with pytest.raises(UpstreamUnreachable, match="this server stops"):
        await download.finished()
    await until(lambda: "closed" in calls)
    assert calls[-1] == "closed"
    await nothing_was_kept(setup)
