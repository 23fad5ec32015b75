"""A real cluster on loopback: nodes behind nginx, with a PostgreSQL and an S3 server of their own, each reached by unruly
ways.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from tests.etc.front import Nginx
from tests.fakes.live_server import PATIENCE, LiveServer
from tests.fakes.ports import free_port
from tests.fakes.postgres import PostgresServer
from tests.fakes.s3_server import S3Server
from tests.fakes.unruly_proxy import UnrulyProxy
from twistpi.cli import cluster_config
from twistpi.cli.cluster_config import Balanced


@attrs.define(eq=False)
class LiveNode:
    """One node, with its own ways to the database and to the bucket."""

    server: LiveServer
    database: UnrulyProxy
    bucket: UnrulyProxy
    options: Sequence[str]
    environment: Mapping[str, str]
    port: int = attrs.field(factory=free_port)
    logs: list[str] = attrs.field(factory=list)
    """What former processes wrote."""

    def spawn(self) -> None:
        """Start a process; it will need a moment."""
        self.server.spawn("--port", str(self.port), *self.options, environment=self.environment)

    def start(self) -> None:
        """Start it, again and again where it ends while the database is gone, as a supervisor would; wait until it answers."""
        until = time.monotonic() + PATIENCE
        self.spawn()
        while not self._answers():
            assert time.monotonic() < until, self.server.told()
            time.sleep(0.02)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the process."""
        self.server.end(how)
        self.logs.append(self.server.told())

    def told(self) -> str:
        """What all its processes wrote."""
        return "".join([*self.logs, self.server.told() if self.server.process is not None else ""])

    def _answers(self) -> bool:
        process = self.server.process
        assert process is not None
        if process.poll() is None:
            return self.server.address() is not None
        self.kill()
        self.spawn()
        return False


@attrs.define(eq=False)
class LiveCluster:
    """All of it."""

    postgres: PostgresServer
    nodes: list[LiveNode]
    nginx: Nginx
    url: str
    """The balancer's, without a slash at the end."""
    database_url: str
    """Without an unruly way."""

    @classmethod
    def make(cls, folder: Path, s3: S3Server, *options: str, count: int = 3) -> LiveCluster:
        """A cluster of ``count`` nodes below ``folder``; nodes and balancer are not started.  Blocking."""
        postgres = PostgresServer.make()
        database_url, bucket = postgres.new_database(), s3.new_bucket()
        nodes = []
        for number in range(count):
            database, way = UnrulyProxy(f"http://127.0.0.1:{postgres.port}").start(), UnrulyProxy(s3.url).start()
            through = database_url.replace(f":{postgres.port}/", f":{urlsplit(database.url).port}/")
            shared = ("--changelog", through, "--blobs", f"s3://{bucket}/files", "--s3-endpoint", way.url)
            server = LiveServer(folder / f"cache{number}", folder / f"node{number}.log", place_option="--cache-dir")
            environment = {**s3.environment, "TWISTPI_BCRYPT_COST": "4"}
            nodes.append(LiveNode(server, database, way, (*shared, *options), environment))
        nginx, port = Nginx(folder / "nginx"), free_port()
        nginx.folder.mkdir()
        nginx.folder.chmod(0o755)
        nginx.configure([balancer([node.port for node in nodes], port)])
        return cls(postgres, nodes, nginx, f"http://127.0.0.1:{port}", database_url)

    def start(self) -> None:
        """Start nodes and balancer.  Blocking."""
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.server.wait_until_it_answers()
        self.nginx.start(f"{self.url}/+api")

    def close(self) -> None:
        """End everything, whatever state it is in.  Blocking."""
        for node in self.nodes:
            node.server.end(signal.SIGKILL)
        self.nginx.stop()
        for node in self.nodes:
            node.database.stop()
            node.bucket.stop()
        self.postgres.remove()


def balancer(ports: Sequence[int], port: int) -> str:
    """What ``gen-config`` writes for nginx, for nodes at ``ports`` of loopback, to listen at ``port`` of it."""
    addresses = tuple(f"127.0.0.1:{one}" for one in ports)
    text = cluster_config.balancer(Balanced(addresses, "pypi.example", port, 64 << 20))
    assert f"\n    listen {port};\n" in text
    return text.replace(f"\n    listen {port};\n", f"\n    listen 127.0.0.1:{port};\n")
