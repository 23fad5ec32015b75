"""A replica becomes the primary, the former one comes back with entries of its own, and all become servers of one log again."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.crash.soaking import are_the_same, status_of, until
from tests.crash.uploaders import Uploader, nothing_is_wrong
from tests.fakes.distributions import wheel_of
from tests.fakes.live_server import LiveServer
from tests.fakes.ports import free_port
from tests.live.stages import PASSWORD, make_stage
from tests.live.test_live_commands import CHEAP, ask, twistpi

DEV = "jonathan/dev"


@attrs.define(eq=False)
class Setup:
    """Three servers of one log, each at a port that stays."""

    folder: Path
    servers: dict[str, LiveServer] = attrs.field(factory=dict)
    ports: dict[str, int] = attrs.field(factory=dict)

    def server(self, name: str) -> LiveServer:
        """Made when it is first asked for."""
        if name not in self.servers:
            self.servers[name] = LiveServer(self.folder / name, self.folder / f"{name}.log")
            self.ports[name] = free_port()
        return self.servers[name]

    def url(self, name: str) -> str:
        """Where it answers, also while it does not."""
        self.server(name)
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, name: str, *options: str) -> LiveServer:
        """Blocking."""
        server = self.server(name)
        where = ("--port", str(self.ports[name]), "--outside-url", self.url(name), "--offline")
        return server.start(*where, *options, environment=CHEAP)

    def start_replica(self, name: str, of: str) -> LiveServer:
        """A new one.  Blocking."""
        secret = str(self.server("first").serverdir / "secret")
        return self.start(name, "--primary-url", self.url(of), "--secretfile", secret)

    def together(self, *names: str) -> int:
        """Wait until all have the same serial and their files; which.  Blocking."""

        def are_together() -> bool:
            told = [status_of(self.server(name)) for name in names]
            return len({one["serial"] for one in told}) == 1 and all(_is_whole(one) for one in told)

        until(are_together, lambda: {name: (status_of(self.server(name)), self.server(name).told()[-2000:]) for name in names})
        return int(status_of(self.server(names[0]))["serial"])


def _is_whole(status: dict[str, Any]) -> bool:
    files = status.get("files")
    return files is None or (files["outstanding"] == 0 and not files["searching"])


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    for server in setup.servers.values():
        server.end(signal.SIGKILL)


def _upload(server: LiveServer, project: str, status: int = 200) -> str:
    answer = Uploader(server, "jonathan").upload(DEV, wheel_of(project, "1.0", project.encode() * 5000))
    assert answer.status == status, answer
    return answer.reason + answer.body.decode()


def _refusal(server: LiveServer) -> str:
    status, told = ask(server, "PUT", f"/{DEV.replace('dev', 'more')}", {"bases": ""}, f"jonathan:{PASSWORD}")
    assert status == 503, told
    message: str = told["message"]
    return message


def test_the_walk_of_a_promotion_and_back(setup: Setup) -> None:
    first = setup.start("first")
    make_stage(first, DEV, bases="")
    second, third = setup.start_replica("second", "first"), setup.start_replica("third", "first")
    _upload(first, "before")
    fork = setup.together("first", "second", "third")

    # The second is behind when the first dies; the third is not.
    second.end()
    _upload(first, "beyond")
    _upload(first, "further")
    last = setup.together("first", "third")
    first.end(signal.SIGKILL)
    setup.start("second")
    told = twistpi(second, "promote")
    assert f"is the primary from serial {fork + 1} on; epoch 2 began." in told
    assert f"The former primary at {setup.url('first')} does not know yet" in told
    _upload(second, "after")

    # The first comes back, asks those who followed it before it takes a write, and refuses.
    setup.start("first")
    refusal = _refusal(first)
    assert setup.url("second") in refusal
    assert "epoch 2" in refusal
    assert f"Entries {fork + 1} to {last} exist only here." in refusal
    assert "twistpi resync" in refusal
    assert status_of(first)["fenced"] == refusal
    assert Uploader(first, "jonathan").digests(DEV, "beyond")
    until(lambda: "name the new primary" in str(status_of(third)["last-error"]), third.told)
    third.end()
    first.end()

    # It becomes a replica, and what only it had is saved.
    told = twistpi(first, "resync", "--primary-url", setup.url("second"))
    assert f"The logs are the same up to serial {fork}." in told
    saved = next((first.serverdir / "diverged").iterdir())
    assert sorted(path.name for path in saved.rglob("*.whl")) == ["beyond-1.0-py3-none-any.whl", "further-1.0-py3-none-any.whl"]
    assert len((saved / "entries.log").read_bytes().splitlines()) == last - fork
    setup.start("first")

    # The third followed the first beyond the fork: it says so, and is put right in the same way; now it is the end of a chain.
    setup.start("third")
    until(lambda: f"diverged at serial {fork + 1}" in str(status_of(third)["last-error"]), third.told)
    assert Uploader(third, "jonathan").digests(DEV, "beyond")
    third.end()
    twistpi(third, "resync")
    setup.start("third")
    _upload(third, "through-the-chain")
    setup.together("first", "second", "third")
    assert not Uploader(third, "jonathan").digests(DEV, "beyond")
    assert _metrics(third, "twistpi_epoch") == 2

    # Back to the first, with everybody there: nothing is lost, and the second knows at once.
    _upload(second, "last-of-second")
    assert "epoch 3 began." in twistpi(first, "promote")
    assert setup.url("first") in (refusal := _refusal(second))
    assert "Nothing exists only here." in refusal
    assert _metrics(second, "twistpi_fenced") == 1
    _upload(third, "first-again")
    setup.together("first", "third")
    second.end()
    assert "This server had no entries of its own." in twistpi(second, "resync")
    for server in setup.servers.values():
        assert "Traceback" not in server.told(), server.told()[-3000:]
        server.end()
    are_the_same(first.serverdir, third.serverdir)
    for server in setup.servers.values():
        nothing_is_wrong(server.serverdir)


def _metrics(server: LiveServer, name: str) -> float:
    """One figure of ``/+metrics``."""
    with urllib.request.urlopen(f"{server.url}/+metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))
