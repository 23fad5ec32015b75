"""A busy server is killed at random, twenty times over; ``make soak`` does it for ten minutes.

Nothing acknowledged is lost, nothing half-written is served, and it always starts again.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.crash.busy_clients import BusyClients, Told
from tests.crash.uploaders import nothing_is_wrong
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from twistpi.cli.log_entries import entries
from twistpi.model.changes import FileCached, LinksChanged
from twistpi.model.codec import decode_content

reactor: Any = _reactor
TIMES = 20
CLIENTS = 6
PROJECTS = [f"project-{number}" for number in range(12)]
LONGEST_LIFE = 80
"""Answers before the kill, at most: what a server did is what counts, however long that takes."""
KILLED_WHILE_STARTING = 0.15
"""The share of kills that come before the server answers at all."""


@attrs.define
class Releases:
    """An upstream that releases something all the time."""

    upstream: FakeUpstream
    chance: random.Random
    former: dict[str, set[tuple[str, str]]] = attrs.field(factory=dict)
    """What is, and what was, by project; see ``files``."""
    _versions: dict[str, int] = attrs.field(factory=dict)
    _wheels: dict[str, dict[str, bytes]] = attrs.field(factory=dict)
    _metadata: dict[str, dict[str, bytes]] = attrs.field(factory=dict)

    def release(self, project: str) -> None:
        """One more version of ``project``; the oldest is taken back once there are many."""
        self._versions[project] = number = self._versions.get(project, 0) + 1
        version = f"{number}.0"
        filename = wheel_name(project, version)
        wheels = self._wheels.setdefault(project, {})
        wheels[filename] = make_wheel(project, version, payload=self.chance.randbytes(self.chance.choice([100, 20_000, 90_000])))
        self._metadata.setdefault(project, {})[filename] = metadata(project, version)
        while len(wheels) > 12:
            del wheels[next(iter(wheels))]
        self.upstream.add_project(project, wheels, metadata={name: self._metadata[project][name] for name in wheels})

        self.former.setdefault(project, set()).update(self.files(project))

    def files(self, project: str) -> set[tuple[str, str]]:
        """Name and SHA-256 of each file that is released of ``project`` now."""
        return {(name, hashlib.sha256(content).hexdigest()) for name, content in self._wheels[project].items()}


def _live_and_be_killed(server: LiveServer, options: list[str], told: Told, chance: random.Random) -> None:
    """One life of the server."""
    server.spawn(*options)
    if chance.random() < KILLED_WHILE_STARTING and server.serverdir.exists():
        time.sleep(chance.uniform(0, 0.9))
        server.end(signal.SIGKILL)
        return
    server.wait_until_it_answers()
    clients = BusyClients(server.url, PROJECTS, told, chance)
    clients.start(CLIENTS)
    clients.wait_until_answered(chance.randrange(LONGEST_LIFE))
    time.sleep(chance.uniform(0, 0.02))
    clients.killed.set()
    server.end(signal.SIGKILL)
    clients.join()


def _look_at_what_is_left(server: LiveServer, told: Told) -> int:
    """The serial up to which the log goes; everything told and kept is there and right."""
    assert told.wrong == []
    nothing_is_wrong(server.serverdir)
    serial = 0
    listed: set[str] = set()
    for line in entries(os.path.join(server.serverdir, "changelog")):
        serial = line.serial
        for change in decode_content(line.body).changes:
            if isinstance(change, LinksChanged):
                listed.update(link.filename for link in change.added)
    assert serial >= told.serial, "an acknowledged entry is lost"
    assert told.filenames <= listed, "an acknowledged file is lost"
    return serial


def _cached(server: LiveServer) -> list[FileCached]:
    lines = entries(os.path.join(server.serverdir, "changelog"))
    return [change for line in lines for change in decode_content(line.body).changes if isinstance(change, FileCached)]


def _drive(server: LiveServer, releases: Releases, told: Told, chance: random.Random) -> None:
    options = ["--upstream", releases.upstream.index_url, "--mirror-cache-expiry", "0"]
    serials = []
    for _ in range(TIMES):
        for project in chance.sample(PROJECTS, 3):
            blockingCallFromThread(reactor, releases.release, project)
        _live_and_be_killed(server, options, told, chance)
        serials.append(_look_at_what_is_left(server, told))
    assert serials == sorted(serials)
    assert len(set(serials)) > TIMES // 2, "the server was not busy"


def _everything_cached_is_served(server: LiveServer) -> None:
    server.start("--offline")
    told = Told()
    BusyClients(server.url, PROJECTS, told, random.Random(0)).visit_all(
        [(f"+f/{file.sha256[:3]}/{file.sha256[3:16]}/{file.filename}", file.sha256) for file in _cached(server)]
    )
    assert told.wrong == []
    assert told.whole == len(_cached(server)) > TIMES // 2
    server.end()


@in_reactor
async def test_a_busy_server_survives_one_kill_after_the_other(server: LiveServer, upstream: FakeUpstream) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    releases = Releases(upstream, chance)
    for project in PROJECTS:
        releases.release(project)
    told = Told()
    await deferToThread(_drive, server, releases, told, chance)
    assert told.whole > TIMES
    await upstream.stop()
    await deferToThread(_everything_cached_is_served, server)
