"""Whatever happens to a primary, to its replica and to the connection between them: once healed, both are the same.

Nothing acknowledged is lost, nothing wrong is kept, and no human is needed.
"""

from __future__ import annotations

import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.crash.soaking import DEV, Pair, are_the_same, soak, status_of, until
from tests.crash.test_crash_full_disk import SmallFiles
from tests.crash.test_crash_killed import PROJECTS, Releases
from tests.crash.uploaders import Uploader, nothing_is_wrong
from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.fakes.unruly_proxy import Cut, Fault, Flip
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.live.stages import make_stage
from twistpi.auth.tokens import NodeTokens

reactor: Any = _reactor
SOAKED = 10.0
"""Seconds; ``make soak`` takes ten minutes."""
HEAD = b"\r\n\r\n"
FEED, BLOB, BLOBS = b"GET /+changelog?", b"GET /+blob/", b"POST /+blobs"
FAULTS: list[Fault] = [
    Cut(asked=FEED, behind=HEAD, after=1000),
    Flip(asked=FEED, behind=HEAD, after=1500),
    Cut(asked=FEED, behind=HEAD, after=37),
    Cut(asked=BLOBS, behind=HEAD, after=10),  # all of them are asked for again; of what is falsified, one by itself
    Flip(asked=BLOBS, behind=HEAD, after=1500),
    Cut(asked=BLOB, behind=HEAD, after=300_000),
    Flip(asked=BLOB, behind=HEAD, after=100_000),
    Cut(asked=BLOB, behind=HEAD, after=0),
]
"""Inside lines, inside blobs, between the head and the body; each strikes once, and what it spoils is enough for the next."""


@in_reactor
async def test_killed_in_turn_under_load_they_are_the_same_once_healed(upstream: FakeUpstream, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    releases = Releases(upstream, chance)
    for project in PROJECTS:
        releases.release(project)
    pair = Pair.below(tmp_path, "--upstream", upstream.index_url, "--mirror-cache-expiry", "1")

    def release() -> None:
        blockingCallFromThread(reactor, releases.release, chance.choice(PROJECTS))

    try:
        summary = await deferToThread(soak, pair, SOAKED, PROJECTS, release, chance)
    finally:
        await deferToThread(pair.close)
    assert summary.tells_something


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A primary that runs, with a stage; the replica was never started."""
    pair = Pair.below(tmp_path, "--offline")
    pair.start_primary()
    make_stage(pair.primary, DEV, bases="")
    yield pair
    pair.close()


def _upload(pair: Pair, *files: Distribution) -> None:
    for file in files:
        answer = Uploader(pair.primary, "jonathan").upload(DEV, file)
        assert answer.status == 200, answer


def _large(name: str) -> Distribution:
    return sdist_of(name, "1.0", random.randbytes(900_000))


def test_faults_of_the_wire_the_disk_and_the_clock_heal_by_themselves(pair: Pair) -> None:
    _upload(pair, *(wheel_of(f"small-{number}", "1.0", random.randbytes(2_000)) for number in range(6)))
    _upload(pair, *(_large(f"large-{number}") for number in range(3)))
    _nobody_without_the_secret_reads_a_byte(pair)

    # It is killed while it is made; then the connection breaks at every kind of point, and lies.
    pair.between.will(Cut(asked=FEED, behind=HEAD, after=600))
    pair.start_replica()
    pair.between.wait_until_happened(1)
    pair.replica.end(signal.SIGKILL)
    pair.between.will(*FAULTS)
    pair.start_replica()
    pair.between.wait_until_happened(1 + len(FAULTS))
    pair.heal()

    # It becomes slow, and then stops.
    pair.between.bytes_per_second = 1_000_000
    _upload(pair, _large("slow"))
    pair.heal()
    pair.between.bytes_per_second = 0
    pair.between.stall()
    _upload(pair, wheel_of("meanwhile", "1.0"))
    assert "meanwhile" not in str(Uploader(pair.replica, "jonathan").digests(DEV, "meanwhile"))
    pair.between.cut()
    pair.heal()

    # The replica's disk is full for a while; what it has, it serves.
    full = SmallFiles(pair.replica.serverdir)
    before = status_of(pair.replica)["serial"]
    full.fill(pair.replica)
    _upload(pair, _large("too-large"), wheel_of("too-much", "1.0"))
    until(lambda: "Free some space" in str(status_of(pair.replica)["last-error"]), lambda: status_of(pair.replica))
    assert status_of(pair.replica)["serial"] == before
    assert Uploader(pair.replica, "jonathan").files(DEV, "large-1")
    full.free(pair.replica)
    pair.heal()

    for server in (pair.primary, pair.replica):
        assert "Traceback" not in server.told(), server.told()[-3000:]
    pair.end()
    are_the_same(pair.primary.serverdir, pair.replica.serverdir)
    for server in (pair.primary, pair.replica):
        nothing_is_wrong(server.serverdir)


def _nobody_without_the_secret_reads_a_byte(pair: Pair) -> None:
    """Not with another secret, not with a token that served before, not with one of another time, and not without."""
    path = "/+changelog/segments/1"
    right = NodeTokens((pair.primary.serverdir / "secret").read_bytes().strip())
    wrong = NodeTokens(b"w" * 32)
    later = time.time() + 1.5  # the process began a moment ago, and lets in nothing that is as old
    time.sleep(1.5)
    good = right.make("c" * 32, "GET", path, later, "ab" * 16)
    assert _answer(pair, path, good) == 200
    tried = [
        None, good, wrong.make("c" * 32, "GET", path, later, "cd" * 16), right.make("c" * 32, "GET", path, later - 90, "ef" * 16),
        right.make("c" * 32, "GET", path, later + 90, "12" * 16), right.make("c" * 32, "GET", f"{path}?x", later, "34" * 16),
    ]  # fmt: skip
    assert [_answer(pair, path, token) for token in tried] == [403] * len(tried)


def _answer(pair: Pair, path: str, token: str | None) -> int:
    request = urllib.request.Request(pair.primary.url + path)
    if token is not None:
        request.add_header("Authorization", f"Twistpi-Node {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
