"""Three nodes behind nginx for ten minutes, while nodes, database and bucket fail; what clients were told must be true.

    python -m bench.cluster_soak [--minutes 10] [--seed N]

It needs PostgreSQL and nginx from the system, and ``weed`` from the extra ``test``.  It ends with status 0 and a summary when the
history of each project is linearizable, nothing was entered twice, all nodes' dumps are equal and every file that is listed can
be read by a node that had nothing.  What it does stands in ``tests/crash/cluster_soaking.py``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.crash.cluster_soaking import Soak, Summary
from tests.crash.test_crash_killed import PROJECTS, Releases
from tests.fakes.live_cluster import LiveCluster
from tests.fakes.s3_server import start_s3_server
from tests.fakes.upstream import FakeUpstream


def main(arguments: list[str]) -> None:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of all that is left to chance")
    given = parser.parse_args(arguments)
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, given.minutes * 60, given.seed)))


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
    options = ("--upstream", releases.upstream.index_url, "--mirror-cache-expiry", "1")
    s3 = start_s3_server()
    with tempfile.TemporaryDirectory(prefix="twistpi-soak-") as folder:
        Path(folder).chmod(0o755)  # nginx's user has to get in
        cluster = LiveCluster.make(Path(folder), s3, *options)
        try:
            return Soak(cluster, PROJECTS, releases, partial(blockingCallFromThread, reactor), chance).run(seconds)
        finally:
            cluster.close()
            s3.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
