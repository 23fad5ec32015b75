"""What a node that dies costs: three nodes behind nginx under load, one of them killed again and again.

    python -m bench.measure_dead_nodes [--kills 10] [--clients 8]

It counts the requests that failed, and of these the ones that the node cannot have been answering, because they began after its
death: there must be none.  It ends with status 1 if there are.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests.crash.cluster_clients import BROKEN, DEV, Client, Projects, Record, ask
from tests.crash.cluster_soaking import make_indexes
from tests.fakes.live_cluster import LiveCluster
from tests.fakes.s3_server import start_s3_server
from tests.live.stages import JSON

Death = tuple[float, float]
"""Before a node was killed, and when it was dead."""


@attrs.frozen
class Request:
    """One that went through the balancer."""

    method: str
    began: float
    ended: float
    failed: bool


@attrs.define(eq=False)
class Requests(Record):
    """Those of all clients."""

    made: list[Request] = attrs.field(factory=list)

    def summary(self, deaths: Sequence[Death]) -> Iterator[str]:
        """For people."""
        failed = [request for request in self.made if request.failed]
        yield f"{len(deaths)} times a node was killed; {len(self.made):,} requests, {len(failed)} failed"
        for method in sorted({request.method for request in failed}):
            yield f"  {method}: {sum(request.method == method for request in failed)}"
        yield f"of these began after the death of the node: {len(self.late(deaths))}"

    def late(self, deaths: Sequence[Death]) -> list[Request]:
        """Those that failed and that no node was answering when it died."""
        return [
            one for one in self.made if one.failed and not any(one.began <= end and begin <= one.ended for begin, end in deaths)
        ]


@attrs.define(eq=False)
class Loader:
    """One client that reads, uploads, pushes and removes, and writes down what failed."""

    client: Client
    requests: Requests

    def run(self) -> None:
        """Go on until it is over."""
        while not self.client.over.is_set():
            self.work()

    def work(self) -> None:
        """One request."""
        project, chance = self.client.projects.take(), self.client.chance
        began, before = time.monotonic(), self._failures()
        if chance.random() < 0.5:
            method, failed = "GET", self._read(project)
        else:
            self.client.work(project)
            method, failed = "any", self._failures() > before
        self.requests.made.append(Request(method, began, time.monotonic(), failed))

    def _failures(self) -> int:
        return sum(count for what, count in self.client.record.counts.items() if "answered 5" in what or "broken" in what)

    def _read(self, project: str) -> bool:
        try:
            return ask(self.client.url, "GET", f"/{DEV}/+simple/{project}/", headers={"Accept": JSON}).status >= 500
        except BROKEN:
            return True


def main(arguments: list[str]) -> int:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure_dead_nodes", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="how often (default: %(default)d)")
    parser.add_argument("--clients", type=int, default=8, help="at the same time (default: %(default)d)")
    given = parser.parse_args(arguments)
    s3 = start_s3_server()
    with tempfile.TemporaryDirectory(prefix="twistpi-dead-nodes-") as folder:
        Path(folder).chmod(0o755)  # nginx's user has to get in
        cluster = LiveCluster.make(Path(folder), s3, "--offline")
        try:
            cluster.start()
            make_indexes(cluster.url)
            requests, deaths = measure(cluster, given.kills, given.clients)
        finally:
            cluster.close()
            s3.stop()
    for line in requests.summary(deaths):
        print(line)
    return int(bool(requests.late(deaths)))


def measure(cluster: LiveCluster, kills: int, clients: int) -> tuple[Requests, list[Death]]:
    """Kill a node so often under the load of so many clients; what was asked, and when nodes died.  Blocking."""
    requests, over, chance = Requests(), threading.Event(), random.Random(0)
    deaths: list[Death] = []
    projects = Projects(random.Random(1))
    threads = []
    for number in range(clients):
        # Each has a record of its own, so that it counts nobody else's failures.
        client = Client(f"client-{number}", cluster.url, Record(), projects, random.Random(number), over)
        threads.append(threading.Thread(target=Loader(client, requests).run, daemon=True))
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(chance.uniform(0.5, 1.5))
        node = chance.choice(cluster.nodes)
        began = time.monotonic()
        node.kill()
        deaths.append((began, time.monotonic()))
        time.sleep(1.0)
        node.start()
    over.set()
    for thread in threads:
        thread.join()
    return requests, deaths


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
