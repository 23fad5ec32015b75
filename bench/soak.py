"""``make soak``: a primary and its replica, killed in turn for ten minutes under load; then they must be the same.

    python -m bench.soak [--seconds 600] [--seed N]

Ends with status 0 and a summary when nothing acknowledged is lost, the logs are equal in every byte, the views' dumps are equal,
and every blob is what its name says.  What it does stands in ``tests/crash/soaking.py``, which a test runs for a shorter while.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.crash.soaking import Pair, Summary, soak
from tests.crash.test_crash_killed import PROJECTS, Releases
from tests.fakes.upstream import FakeUpstream


class Lines(Protocol):
    """What a soak did."""

    def lines(self) -> Iterator[str]:
        """For people."""


InReactor = Callable[..., Any]
"""Calls a function in the reactor's thread, and returns what it returns."""
Soak = Callable[[Path, Releases, float, random.Random, InReactor], Lines]
"""Soaks below a folder, with the releases of an upstream, for so many seconds.  Blocking."""


def run_soak(program: str, description: str, soak: Soak, arguments: list[str]) -> None:
    """Run ``soak`` as ``arguments`` say, beside a fake upstream, and print what came of it."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of all that is left to chance")
    given = parser.parse_args(arguments)
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, soak, given.seconds, given.seed)))


async def _run(reactor: Any, soak: Soak, seconds: float, seed: int) -> None:
    print(f"seed {seed}", flush=True)
    upstream = FakeUpstream(reactor).start()
    releases = Releases(upstream, random.Random(seed))
    for project in PROJECTS:
        releases.release(project)
    in_reactor = partial(blockingCallFromThread, reactor)
    try:
        with tempfile.TemporaryDirectory(prefix="twistpi-soak-") as folder:
            summary = await deferToThread(soak, Path(folder), releases, seconds, random.Random(seed), in_reactor)
    finally:
        await upstream.stop()
    for line in summary.lines():
        print(line)


def _soak_pair(folder: Path, releases: Releases, seconds: float, chance: random.Random, in_reactor: InReactor) -> Summary:
    pair = Pair.below(folder, "--upstream", releases.upstream.index_url, "--mirror-cache-expiry", "1")
    try:
        return soak(pair, seconds, PROJECTS, lambda: in_reactor(releases.release, chance.choice(PROJECTS)), chance)
    finally:
        pair.close()


if __name__ == "__main__":
    run_soak("bench.soak", __doc__, _soak_pair, sys.argv[1:])
