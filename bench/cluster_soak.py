"""Three nodes behind nginx for ten minutes, while nodes, database and bucket fail; what clients were told must be true.

    python -m bench.cluster_soak [--seconds 600] [--seed N]

It needs PostgreSQL and nginx from the system, and ``weed`` from the extra ``test``.  It ends with status 0 and a summary when the
history of each project is linearizable, nothing was entered twice, all nodes' dumps are equal and every file that is listed can
be read by a node that had nothing.  What it does stands in ``tests/crash/cluster_soaking.py``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from bench.soak import InReactor, run_soak
from tests.crash.cluster_soaking import Soak, Summary
from tests.crash.test_crash_killed import PROJECTS, Releases
from tests.fakes.live_cluster import LiveCluster
from tests.fakes.s3_server import start_s3_server


def _soak_cluster(folder: Path, releases: Releases, seconds: float, chance: random.Random, in_reactor: InReactor) -> Summary:
    options = ("--upstream", releases.upstream.index_url, "--mirror-cache-expiry", "1")
    folder.chmod(0o755)  # nginx's user has to get in
    s3 = start_s3_server()
    try:
        cluster = LiveCluster.make(folder, s3, *options)
        try:
            return Soak(cluster, PROJECTS, releases, in_reactor, chance).run(seconds)
        finally:
            cluster.close()
    finally:
        s3.stop()


if __name__ == "__main__":
    run_soak("bench.cluster_soak", __doc__, _soak_cluster, sys.argv[1:])
