"""A primary and its replica, killed in turn under load over a connection that breaks; in the end both must be the same.

``test_crash_replication.py`` runs it for a short while, ``make soak`` for ten minutes.
"""

from __future__ import annotations

import filecmp
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.crash.busy_clients import BusyClients, Told
from tests.crash.uploaders import Uploader, nothing_is_wrong
from tests.fakes.distributions import Distribution, wheel_of
from tests.fakes.live_server import ROOT, LiveServer, server_environment
from tests.fakes.ports import free_port
from tests.fakes.unruly_proxy import UnrulyProxy
from tests.live.stages import make_stage
from tests.live.test_live_commands import CHEAP, twistpi
from twistpi.view.database import dump

DEV = "jonathan/dev"
_BROKEN = (OSError, http.client.HTTPException)
_SIZES = [100, 5_000, 60_000, 250_000]
_PATIENCE = 180.0
"""Seconds after which what is waited for will not come: a replica that has not caught up, for one."""


def status_of(server: LiveServer) -> dict[str, Any]:
    """What a server says of itself.  Blocking; raises ``OSError``."""
    request = urllib.request.Request(f"{server.url}/+status", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        result: dict[str, Any] = json.load(answer)["result"]
        return result


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Return when ``condition`` holds, which it may answer with ``OSError`` for a while.  Blocking."""
    limit = time.monotonic() + _PATIENCE
    while True:
        try:
            if condition():
                return
        except _BROKEN:
            pass
        assert time.monotonic() < limit, what()
        time.sleep(0.05)


@attrs.define(eq=False)
class Pair:
    """A primary and its replica, at ports that stay, with an unruly connection between them."""

    primary: LiveServer
    replica: LiveServer
    options: Sequence[str]
    """Of the primary, beside where it listens."""
    primary_port: int = attrs.field(factory=free_port)
    replica_port: int = attrs.field(factory=free_port)
    between: UnrulyProxy = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.between = UnrulyProxy(f"http://127.0.0.1:{self.primary_port}").start()

    @classmethod
    def below(cls, folder: Path, *options: str) -> Pair:
        """Both below ``folder``."""
        primary = LiveServer(folder / "primary", folder / "primary.log")
        return cls(primary, LiveServer(folder / "replica", folder / "replica.log"), options)

    def start_primary(self) -> None:
        """Start the primary.  Blocking."""
        url = f"http://127.0.0.1:{self.primary_port}"
        self.primary.start("--port", str(self.primary_port), "--outside-url", url, *self.options, environment=CHEAP)

    def start_replica(self, *options: str) -> None:
        """Start the replica, which may have to wait for the primary before it answers anything else.  Blocking."""
        url = f"http://127.0.0.1:{self.replica_port}"
        where = ("--port", str(self.replica_port), "--outside-url", url, "--secretfile", str(self.primary.serverdir / "secret"))
        self.replica.start(*where, "--primary-url", self.between.url, *options, environment=CHEAP)

    def heal(self) -> None:
        """Return when the replica has everything that the primary has.  Blocking."""
        self.between.release()
        until(
            self._is_whole,
            lambda: (status_of(self.primary), status_of(self.replica), self.replica.told()[-3000:]),
        )

    def _is_whole(self) -> bool:
        there, here = status_of(self.primary), status_of(self.replica)
        return bool(there["serial"] == here["serial"]) and _has_all_files(here) and _has_all_files(there)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop both.  Blocking."""
        for server in (self.replica, self.primary):
            server.end(how)

    def close(self) -> None:
        """Stop everything, whatever state it is in.  Blocking."""
        self.end(signal.SIGKILL)
        self.between.stop()


def _has_all_files(status: dict[str, Any]) -> bool:
    """Whether a server lacks no file, as its status says; a primary has them all."""
    files = status.get("files")
    return files is None or bool(files["outstanding"] == 0 and not files["searching"])


def are_the_same(one: Path, other: Path) -> tuple[int, int]:
    """Asserts that two stopped servers' logs are equal in every byte, and their views' dumps; segments and bytes."""
    logs = [folder / "changelog" for folder in (one, other)]
    names = [sorted(name for name in os.listdir(log) if name.endswith(".log")) for log in logs]
    assert names[0] == names[1]
    for name in names[0]:
        assert filecmp.cmp(logs[0] / name, logs[1] / name, shallow=False), f"{name} differs"
    for row, other_row in zip(dump(str(one / "view.sqlite")), dump(str(other / "view.sqlite")), strict=True):
        assert row == other_row
    return len(names[0]), sum((logs[0] / name).stat().st_size for name in names[0])


@attrs.define
class Summary:
    """What happened in a soak."""

    seconds: float = 0.0
    kills: dict[str, int] = attrs.field(factory=lambda: {"primary": 0, "replica": 0})
    breaks: int = 0
    """Times at which the connection was cut or stalled."""
    uploaded: list[Distribution] = attrs.field(factory=list)
    """Acknowledged."""
    unanswered: int = 0
    """Uploads that nobody acknowledged: refused because a server was gone, or broken off."""
    fetched: int = 0
    """Files of the mirror, whole and right."""
    entries: int = 0
    segments: int = 0
    log_bytes: int = 0

    @property
    def tells_something(self) -> bool:
        """Whether both were killed, and something was done meanwhile."""
        return min(self.kills.values()) > 0 and len(self.uploaded) > 10 and self.fetched > 10

    def lines(self) -> Iterator[str]:
        """For people."""
        kills = self.kills
        yield f"{self.seconds:.0f} s under load; killed: the primary {kills['primary']} times, the replica {kills['replica']}"
        yield f"the connection between them was cut or stalled {self.breaks} times; then the replica was promoted, under load"
        yield f"uploads: {len(self.uploaded):,} acknowledged, {self.unanswered:,} not; mirrored files fetched: {self.fetched:,}"
        yield f"healed: {self.entries:,} entries, {self.segments} segments of {self.log_bytes:,} bytes, equal in every byte"
        yield "the views' dumps are equal; every acknowledged upload is there; every blob of both was verified"


@attrs.define(eq=False)
class Load:
    """Threads that upload and install, at both servers, until they are told to end."""

    pair: Pair
    projects: Sequence[str]
    chance: random.Random
    summary: Summary
    told: Told = attrs.field(factory=Told)
    wrong: list[str] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)

    @contextmanager
    def running(self, count: int) -> Iterator[None]:
        """Meanwhile ``count`` threads upload and as many install."""
        threads = []
        for number in range(count):
            for work in (self._upload, self._install):
                chance = random.Random(self.chance.random())
                threads.append(threading.Thread(target=work, args=(number, chance), daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(120)
                assert not thread.is_alive(), "a client still waits for an answer"

    def _servers(self, chance: random.Random) -> LiveServer:
        return chance.choice([self.pair.primary, self.pair.replica])

    def _upload(self, number: int, chance: random.Random) -> None:
        version = 0
        while not self._over.is_set():
            version += 1
            file = wheel_of(f"soaked-{number}", f"{version}.0", chance.randbytes(chance.choice(_SIZES)))
            try:
                answer = Uploader(self._servers(chance), "jonathan").upload(DEV, file)
            except _BROKEN:
                self.summary.unanswered += 1
                self._over.wait(0.05)
                continue
            if answer.status == 200:
                self.summary.uploaded.append(file)
            elif answer.status in (502, 503, 504):
                self.summary.unanswered += 1
                self._over.wait(0.05)
            else:
                self.wrong.append(f"an upload was answered {answer}")

    def _install(self, number: int, chance: random.Random) -> None:
        while not self._over.is_set():
            server = self._servers(chance)
            visitor = BusyClients(server.url, self.projects, Told(), chance)
            visitor.start(1)
            self._over.wait(0.5)
            visitor.killed.set()
            visitor.join()
            self.summary.fetched += visitor.told.whole
            self.wrong += [text for text in visitor.told.wrong if "wrong bytes" in text]


def soak(pair: Pair, seconds: float, projects: Sequence[str], release: Callable[[], object], chance: random.Random) -> Summary:
    """Kill and break for so long, then heal and compare.  ``release`` has the upstream release something.  Blocking."""
    summary = Summary()
    pair.start_primary()
    make_stage(pair.primary, DEV, bases="")
    pair.start_replica()
    pair.heal()
    load = Load(pair, projects, chance, summary)
    began = time.monotonic()
    with load.running(3):
        while time.monotonic() < began + seconds or not summary.tells_something:
            assert time.monotonic() < began + seconds + _PATIENCE, summary
            release()
            time.sleep(chance.uniform(0.2, 2.0))
            _strike(pair, summary, chance)
        pair.between.release()
        _hand_over(pair, summary)
        summary.seconds = time.monotonic() - began
    _make_a_replica_of_the_former_primary(pair)
    pair.heal()
    assert load.wrong == []
    _everything_is_there(pair, summary)
    summary.entries = status_of(pair.primary)["serial"]
    for server in (pair.primary, pair.replica):
        assert "Traceback" not in server.told(), server.told()[-3000:]
    pair.end()
    summary.segments, summary.log_bytes = are_the_same(pair.primary.serverdir, pair.replica.serverdir)
    for server in (pair.primary, pair.replica):
        nothing_is_wrong(server.serverdir)
    return summary


def _strike(pair: Pair, summary: Summary, chance: random.Random) -> None:
    """Break the connection, perhaps, and kill one of the two, in turn; it is there again afterwards."""
    if chance.random() < 0.5:
        summary.breaks += 1
        if chance.random() < 0.5:
            pair.between.cut()
        else:
            pair.between.stall()
            time.sleep(chance.uniform(0.1, 1.0))
            pair.between.release()
    name = "primary" if sum(summary.kills.values()) % 2 == 0 else "replica"
    server, start = (pair.primary, pair.start_primary) if name == "primary" else (pair.replica, pair.start_replica)
    server.end(signal.SIGKILL)
    summary.kills[name] += 1
    time.sleep(chance.uniform(0, 0.5))
    start()


def _hand_over(pair: Pair, summary: Summary) -> None:
    """Promote the replica while everybody writes; the load goes on for a moment, at both."""
    limit = time.monotonic() + _PATIENCE
    while "is the primary from serial" not in (told := _promote(pair)):
        assert time.monotonic() < limit, told
    before = len(summary.uploaded)
    until(lambda: len(summary.uploaded) > before + 3, pair.replica.told)
    assert status_of(pair.primary)["fenced"].count("Nothing exists only here.") == 1


def _promote(pair: Pair) -> str:
    command = [sys.executable, "-c", "from twistpi.cli.main import main; main()", "promote"]
    environment = {**server_environment(), **CHEAP, "TWISTPI_SERVERDIR": str(pair.replica.serverdir)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def _make_a_replica_of_the_former_primary(pair: Pair) -> None:
    pair.primary.end()
    assert "This server had no entries of its own." in twistpi(pair.primary, "resync")
    pair.start_primary()


def _everything_is_there(pair: Pair, summary: Summary) -> None:
    for server in (pair.primary, pair.replica):
        uploader = Uploader(server, "jonathan")
        for project in {file.project for file in summary.uploaded}:
            there = uploader.digests(DEV, project)
            for file in summary.uploaded:
                if file.project == project:
                    assert there.get(file.filename) == file.sha256, f"{file.filename} was acknowledged and is lost"
