"""Nodes of a cluster are killed, its database restarts, connections break inside commits, and its bucket fails: all that its
clients were told could have been told by one server.  ``python -m bench.cluster_soak`` does it for ten minutes.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.crash.cluster_soaking import Soak
from tests.crash.test_crash_killed import PROJECTS, Releases
from tests.fakes.live_cluster import LiveCluster
from tests.fakes.s3_server import S3Server
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor

reactor: Any = _reactor
SOAKED = 3.0
"""Seconds."""
FEW = PROJECTS[:3]


@pytest.fixture
def cluster(s3_server: S3Server, upstream: FakeUpstream) -> Iterator[LiveCluster]:
    with tempfile.TemporaryDirectory(prefix="twistpi-cluster-") as folder:
        Path(folder).chmod(0o755)  # nginx's user has to get in
        options = ("--upstream", upstream.index_url, "--mirror-cache-expiry", "1")
        made = LiveCluster.make(Path(folder), s3_server, *options)
        yield made
        made.close()


@in_reactor
async def test_whatever_fails_clients_are_told_what_one_server_could_have_told(
    cluster: LiveCluster, upstream: FakeUpstream
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    releases = Releases(upstream, chance)
    for project in FEW:
        releases.release(project)
    soak = Soak(cluster, FEW, releases, partial(blockingCallFromThread, reactor), chance, clients=4)
    summary = await deferToThread(soak.run, SOAKED)
    assert summary.strikes["kill a node"] > 0
    assert summary.counts["upload done"] > 0
    assert summary.files > 0
