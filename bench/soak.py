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
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.crash.soaking import Pair, Summary, soak
from tests.crash.test_crash_killed import PROJECTS, Releases
from tests.fakes.upstream import FakeUpstream


def main(arguments: list[str]) -> None:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of all that is left to chance")
    given = parser.parse_args(arguments)
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, given.seconds, given.seed)))


async def _main(reactor: Any, seconds: float, seed: int) -> None:
    print(f"seed {seed}", flush=True)
    upstream = FakeUpstream(reactor).start()
    releases = Releases(upstream, random.Random(seed))
    for project in PROJECTS:
        releases.release(project)
    try:
        summary = await deferToThread(_soak, reactor, releases, seconds, random.Random(seed))
    finally:
        await upstream.stop()
    for line in summary.lines():
        print(line)


def _soak(reactor: Any, releases: Releases, seconds: float, chance: random.Random) -> Summary:
    with tempfile.TemporaryDirectory(prefix="twistpi-soak-") as folder:
        pair = Pair.below(Path(folder), "--upstream", releases.upstream.index_url, "--mirror-cache-expiry", "1")
        try:
            return soak(
                pair,
                seconds,
                PROJECTS,
                lambda: blockingCallFromThread(reactor, releases.release, chance.choice(PROJECTS)),
                chance,
            )
        finally:
            pair.close()


if __name__ == "__main__":
    main(sys.argv[1:])
