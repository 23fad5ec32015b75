"""Everything through a replica that has workers: what is tested of a server alone, and what only a replica can get wrong."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.live_server import PATIENCE, LiveServer, eventually
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.live.installers import Pip
from tests.live.projects import write_project
from tests.live.publishers import Twine, Uv
from tests.live.stages import PASSWORD, Stage, build_backends, fetch, fill, start_with_stage
from tests.live.test_live_commands import ask
from tests.live.test_live_releases import test_a_release_is_pushed_to_another_index
from tests.live.test_live_workers import workers_of

__all__ = ["test_a_release_is_pushed_to_another_index"]
"""Written for a server alone, and run here behind a replica: nobody should be able to tell."""


@attrs.define(eq=False)
class ReplicaWithWorkers(LiveServer):
    """A primary, whom nobody asks, and its replica, whom everybody asks."""

    primary: LiveServer = attrs.field(kw_only=True)
    primary_port: str = attrs.field(factory=lambda: str(free_port()))

    def start(
        self, *options: str, environment: Mapping[str, str] | None = None, patience: float = PATIENCE
    ) -> ReplicaWithWorkers:
        self.primary.start(*options, "--port", self.primary_port, environment=environment)
        secret = str(self.primary.serverdir / "secret")
        super().start(
            "--primary-url", self.primary.url, "--secretfile", secret, "--workers", "2", environment=environment,
            patience=patience,
        )  # fmt: skip
        eventually(lambda: len(workers_of(self)) == 2)
        return self

    def kill(self) -> None:
        for server in (self, self.primary):
            if server.process is not None and server.process.poll() is None:
                server.process.kill()
                server.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReplicaWithWorkers]:
    primary = LiveServer(tmp_path / "primary", tmp_path / "primary.log")
    made = ReplicaWithWorkers(tmp_path / "data", tmp_path / "twistd.log", primary=primary)
    yield made
    made.kill()


@in_reactor
async def test_publishers_and_installers_need_not_know_that_it_is_a_replica(
    server: ReplicaWithWorkers, upstream: FakeUpstream, tmp_path: Path
) -> None:
    fill(upstream)
    stage: Stage = await deferToThread(start_with_stage, server, upstream)
    project = write_project(tmp_path / "mypkg")
    await deferToThread(build_backends)
    built = await deferToThread(Twine().build, project, stage)
    assert built.status == 0, built.told
    for publisher in (Twine(), Uv()):
        done = await deferToThread(publisher.publish, project, stage)
        assert done.status == 0, done.told
    digests = await deferToThread(stage.digests, "mypkg")
    assert len(digests) == 2
    python = await deferToThread(Pip("pip").install, tmp_path / "pip", stage.simple, "mypkg==1.0")
    assert python.exists()
    sdist = next(name for name in digests if name.endswith(".tar.gz"))
    await deferToThread(_test_result, stage, sdist, digests[sdist])
    await deferToThread(_without_primary, server, stage)
    assert "Traceback" not in server.told() + server.primary.told()


def _test_result(stage: Stage, name: str, digest: str) -> None:
    """A test result, in which the answer names the address it was asked at."""
    url = f"{stage.url}+f/{digest[:3]}/{digest[3:16]}/{name}"
    request = urllib.request.Request(url, json.dumps({"testenvs": {}}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: Any = json.loads(answer.read())
        assert answer.headers["X-Devpi-Proxy"] == "replica"
    result = f"{stage.server.url}/{told['result']}"
    assert json.loads(fetch(result)) == {"testenvs": {}}


def _without_primary(server: ReplicaWithWorkers, stage: Stage) -> None:
    """Reading goes on; what changes something is refused in so many words, and counts again when the primary is back."""
    login = f"{stage.user}:{PASSWORD}"
    server.primary.end()
    status, told = ask(server, "PATCH", f"/{stage.name}", ["title=later"], login)
    assert status == 503
    assert "Nothing was changed" in told["message"]
    assert len(stage.digests("mypkg")) == 2
    server.primary.start("--port", server.primary_port)
    assert eventually(lambda: ask(server, "PATCH", f"/{stage.name}", ["title=later"], login)[0] == 200)
    assert ask(server, "GET", f"/{stage.name}")[1]["result"]["title"] == "later"
    assert ask(server, "DELETE", f"/{stage.name}/mypkg/1.0", None, login)[0] == 200
    assert stage.digests("mypkg") == {}
