"""What replicas cost their primary, how far they are behind, and how fast they catch up."""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import orjson

from bench.builds import THIS, Build
from bench.client import INSTALLER_ACCEPT, WrongAnswer, get
from bench.corpus import SMALL_PAGE_FILES
from bench.figures import Figure, Target, compared, interleaved
from bench.history import NOBODY, History
from bench.load import load
from bench.servers import Twistpi
from bench.stage import Stage

_REPLICAS = 5
_FULL_ENTRIES = 1_000_000
_QUICK_ENTRIES = 100_000
_PATIENCE = 600.0
"""Seconds after which a replica counts as one that does not follow."""


def measure(stage: Stage) -> list[Figure]:
    """Five replicas beside a primary that is asked for hot pages, one that waits for what is new, one that begins."""
    project = stage.corpus.add_project("replicas-small", SMALL_PAGE_FILES)
    alone = Twistpi.start(stage.folder / "alone", stage.corpus.simple_url)
    primary = Twistpi.start(stage.folder / "primary", stage.corpus.simple_url)
    replicas = [_follow(primary, stage.folder / f"replica-{number}") for number in range(_REPLICAS)]
    try:
        for server in (alone, primary):
            get(server.page_url(project), INSTALLER_ACCEPT)
        for replica in replicas:
            _wait_for(replica, _serial(primary))
        return [_hot(stage, primary, alone, project), _live(stage, primary, replicas[0]), *_long_log(stage)]
    finally:
        for server in (*replicas, primary, alone):
            server.stop()


def _hot(stage: Stage, primary: Twistpi, alone: Twistpi, project: str) -> Figure:
    headers = {"Accept": INSTALLER_ACCEPT}
    followed, unfollowed = interleaved(
        stage.rounds(5, 2),
        lambda: load(primary.page_url(project), stage.rounds(3, 1), headers).answers_per_second,
        lambda: load(alone.page_url(project), stage.rounds(3, 1), headers).answers_per_second,
    )
    name = f"hot page of a primary with {_REPLICAS} replicas"
    return compared(name, "answers/s", followed, unfollowed, "one without any", Target("at least", 0.9))


def _live(stage: Stage, primary: Twistpi, replica: Twistpi) -> Figure:
    delays = [_seconds_behind(primary, replica, f"somebody{number}") for number in range(stage.rounds(100, 30))]
    note = f"from the primary's answer until the replica shows it; slowest of {len(delays)}: {max(delays) * 1e3:.1f} ms"
    median, target = statistics.median(delays) * 1e3, Target("below", 50, of="value")
    return Figure("live entry on a replica", median, "ms", target=target, note=note)


def _seconds_behind(primary: Twistpi, replica: Twistpi, user: str) -> float:
    body = orjson.dumps({"password": "", "email": f"{user}@upstream.example"})
    asked = urllib.request.Request(f"{primary.url}/{user}", body, {"Content-Type": "application/json"}, method="PUT")
    with urllib.request.urlopen(asked, timeout=_PATIENCE) as answer:
        serial = int(answer.headers["X-Devpi-Serial"])
    answered = time.perf_counter()
    _wait_for(replica, serial)
    return time.perf_counter() - answered


def _long_log(stage: Stage) -> list[Figure]:
    history = History.of(stage.rounds(_FULL_ENTRIES, _QUICK_ENTRIES), stage.say)
    history.rebuild()  # a view that lags would have to be folded before the server answers
    primary = Twistpi.start(history.serverdir, NOBODY)
    try:
        return [_catch_up(stage, primary), _begin(stage, primary)]
    finally:
        primary.stop()


def _catch_up(stage: Stage, primary: Twistpi) -> Figure:
    """A replica that is all of the log behind, as one that was away: it gets every entry by the feed."""
    serial, elapsed = catch_up(primary, stage.folder / "behind")
    name, target = f"a replica catches up with {serial:,} entries", Target("at least", 20_000, of="value")
    return Figure(name, serial / elapsed, "entries/s", target=target, note=f"{elapsed:.1f} s from the start of its process")


def catch_up(primary: Twistpi, folder: Path, build: Build = THIS) -> tuple[int, float]:
    """Return the primary's serial, and seconds until a replica in ``folder`` that follows it from the first entry has it."""
    folder.mkdir()
    log_id = orjson.loads((primary.serverdir / "node.json").read_bytes())["log_id"]
    node = {
        "format": 1,
        "initialised": False,
        "log_id": log_id,
        "node_id": "b" * 32,
        "role": "replica",
        "primary_url": primary.url,
    }
    (folder / "node.json").write_bytes(orjson.dumps(node))
    (folder / "changelog").mkdir()
    (folder / "changelog" / f"{1:020d}.log").touch()  # so that it goes on with a log, instead of beginning with a snapshot
    return _until_there(primary, folder, build)


def _begin(stage: Stage, primary: Twistpi) -> Figure:
    """A new replica, which takes a snapshot."""
    serial, elapsed = _until_there(primary, stage.folder / "beginner")
    note = "from the start of its process; by a snapshot, where the log is a long one; its older history comes later"
    return Figure(f"a new replica of a log of {serial:,} entries answers", elapsed, "s", note=note)


def _until_there(primary: Twistpi, folder: Path, build: Build = THIS) -> tuple[int, float]:
    """The primary's serial, and seconds until a replica in ``folder`` that is started now has it."""
    serial = _serial(primary)
    started = time.perf_counter()
    replica = _follow(primary, folder, build)
    try:
        _wait_for(replica, serial, pause=0.05)
        return serial, time.perf_counter() - started
    finally:
        replica.stop()


def _follow(primary: Twistpi, folder: Path, build: Build = THIS) -> Twistpi:
    secret = str(primary.serverdir / "secret")
    return Twistpi.start(folder, "", *_replica_options(primary.url, secret), build=build)


def _replica_options(url: str, secret: str) -> Sequence[str]:
    return "--primary-url", url, "--secretfile", secret, "--replicate-files", "on-demand"


def _serial(server: Twistpi) -> int:
    try:
        return int(get(f"{server.url}/+api").headers["x-devpi-serial"])
    except WrongAnswer:  # a replica that has nothing yet says so
        return -1


def _wait_for(replica: Twistpi, serial: int, pause: float = 0.0) -> None:
    until = time.monotonic() + _PATIENCE
    while _serial(replica) < serial:
        if time.monotonic() > until:
            raise TimeoutError(f"the replica did not get to serial {serial}")
        time.sleep(pause)
