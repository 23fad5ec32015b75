"""A server that is uploaded to, pushed on and removed from is killed at random, again and again.

What was acknowledged is there, byte for byte; a push happened whole or not at all; of what was under way nothing is left.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import attrs

from tests.crash.uploaders import Uploader, is_clean, nothing_is_wrong
from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.fakes.live_server import PATIENCE, LiveServer
from tests.live.stages import make_stage
from tests.live.test_live_commands import CHEAP

DEV = "jonathan/dev"
PROD = "jonathan/prod"
TIMES = 8
CLIENTS = 5
LONGEST_LIFE = 24
"""Files that are acknowledged before the kill, at most: what a server did is what counts, however long that takes."""
SIZES = [100, 5_000, 60_000, 250_000]
_BROKEN = (OSError, http.client.HTTPException)


@attrs.define(eq=False)
class Release:
    """One release of one project and what is known of it; each is tried once."""

    files: list[Distribution]
    uploaded: list[Distribution] = attrs.field(factory=list)
    """Acknowledged."""
    pushed: bool | None = False
    """None: asked for, and never answered."""
    removed: bool | None = False

    @property
    def project(self) -> str:
        """Normalised."""
        return self.files[0].project

    @property
    def version(self) -> str:
        """As it is spelled."""
        return self.files[0].version


@attrs.define(eq=False)
class Clients:
    """Some threads that make releases until the server is gone; another whose upload takes longer than any server lives."""

    uploader: Uploader
    chance: random.Random
    releases: list[Release] = attrs.field(factory=list)
    wrong: list[str] = attrs.field(factory=list)
    _killed: threading.Event = attrs.field(factory=threading.Event)

    def work(self, files: int) -> None:
        """Let them work until so many are uploaded and another is being received, then kill the server.  Blocking."""
        incoming, before = self.uploader.server.serverdir / "incoming", self._uploaded()
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            names = [f"client-{number}" for number in range(CLIENTS)]
            working = [pool.submit(self._until_killed, name, random.Random(self.chance.random())) for name in names]
            working.append(pool.submit(self._slow))
            limit = time.monotonic() + PATIENCE
            while not self.wrong and (self._uploaded() < before + files or not any(incoming.iterdir())):
                assert time.monotonic() < limit, f"{self._uploaded() - before} of {files} files were uploaded"
                time.sleep(0.002)
            time.sleep(self.chance.uniform(0, 0.02))
            self._killed.set()
            self.uploader.server.end(signal.SIGKILL)
            for one in working:
                one.result(60)

    def _uploaded(self) -> int:
        return sum(len(release.uploaded) for release in list(self.releases))

    def _until_killed(self, name: str, chance: random.Random) -> None:
        while not self._killed.is_set():
            version = f"1.{len(self.releases)}.{chance.randrange(1 << 30)}"
            files = [make(name, version, chance.randbytes(chance.choice(SIZES))) for make in (wheel_of, sdist_of)]
            release = Release(files)
            self.releases.append(release)
            try:
                self._live(release, chance)
            except _BROKEN as error:
                if not self._killed.is_set():
                    self.wrong.append(f"{error!r} from a server that lives")
            except AssertionError as error:
                self.wrong.append(str(error))

    def _live(self, release: Release, chance: random.Random) -> None:
        """The life of a release, until it ends or the server does."""
        for file in release.files:
            answer = self.uploader.upload(DEV, file)
            assert answer.status == 200, answer
            release.uploaded.append(file)
        release.pushed = None
        answer = self.uploader.push(DEV, release.project, release.version, PROD)
        assert answer.status == 200, answer
        release.pushed = True
        if chance.random() < 0.3:
            release.removed = None
            answer = self.uploader.remove(f"/{DEV}/{release.project}/{release.version}")
            assert answer.status == 200, answer
            release.removed = True

    def _slow(self) -> None:
        file = sdist_of("slow", "1.0", os.urandom(300_000))
        try:
            self.uploader.upload(DEV, file, lambda: self._killed.wait(60))
        except _BROKEN:
            return
        self.wrong.append("an upload that never ended was answered")


def _is_as_told(uploader: Uploader, release: Release, dev: dict[str, bytes], prod: dict[str, bytes]) -> None:
    """Asserts of one release what its clients were told."""
    there = {file.filename: file.content for file in release.files}
    at_dev = {name: content for name, content in dev.items() if name in there}
    at_prod = {name: content for name, content in prod.items() if name in there}
    assert at_dev.items() <= there.items()
    assert at_prod in ({}, there), "a push is whole or not at all"
    if release.removed is True:
        assert at_dev == {}
    elif release.removed is None:
        assert at_dev in ({}, there), "a removal is whole or not at all"
    else:
        assert {file.filename for file in release.uploaded} <= at_dev.keys(), "what was acknowledged is there"
    if release.pushed is not None:
        assert bool(at_prod) == release.pushed


def _all_is_as_told(uploader: Uploader, releases: list[Release]) -> int:
    """Look at everything that ``releases`` are about; how many files there are."""
    seen = 0
    for project in {release.project for release in releases}:
        dev, prod = uploader.files(DEV, project), uploader.files(PROD, project)
        seen += len(dev) + len(prod)
        for release in releases:
            if release.project == project:
                _is_as_told(uploader, release, dev, prod)
    assert uploader.files(DEV, "slow") == {}
    return seen


def test_nothing_acknowledged_is_lost_and_nothing_half_done_is_seen(server: LiveServer) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server.start("--offline", environment=CHEAP)
    uploader = Uploader(server, "jonathan")
    for index, volatile in ((DEV, True), (PROD, False)):
        make_stage(server, index, bases="", volatile=volatile)
    clients = Clients(uploader, chance)
    begun = 0
    for _ in range(TIMES):
        already = len(clients.releases)
        lifetime = Clients(uploader, chance, clients.releases, clients.wrong)
        lifetime.work(chance.randrange(4, LONGEST_LIFE))
        assert clients.wrong == []
        assert "Traceback" not in server.told()
        nothing_is_wrong(server.serverdir)
        begun += len(list((server.serverdir / "incoming").iterdir())) > 0
        server.start("--offline", environment=CHEAP)
        assert list((server.serverdir / "incoming").iterdir()) == []
        _all_is_as_told(uploader, clients.releases[already:])
    assert begun > TIMES // 2, "hardly any kill came while something was being received"
    assert _all_is_as_told(uploader, clients.releases) > 5 * TIMES
    server.end()
    is_clean(server.serverdir)
    assert "Traceback" not in server.told()
