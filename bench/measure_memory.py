"""Resident memory of the one process: before anything was asked of it, and after everything was."""

from __future__ import annotations

import statistics
import time

import orjson

from bench.client import HTML_ACCEPT, INSTALLER_ACCEPT, WrongAnswer, get, seconds_to_get
from bench.corpus import MEGABYTE, NAMES
from bench.figures import Figure, Target
from bench.stage import Stage

_SETTLE_SECONDS = 2


def measure(stage: Stage) -> list[Figure]:
    """Comes last: asks for the list of all names, too, and then looks at the memory."""
    stage.corpus.add_names()
    names = f"{stage.twistpi.url}/root/pypi/+simple/"
    started = time.perf_counter()
    count = len(orjson.loads(get(names, INSTALLER_ACCEPT).body)["projects"])
    seconds = time.perf_counter() - started
    if count != NAMES:
        raise WrongAnswer(f"{count} names came, not {NAMES}")
    get(names, HTML_ACCEPT)
    time.sleep(_SETTLE_SECONDS)
    now = stage.twistpi.server.memory()
    return [
        Figure(f"list of {NAMES:,} names, cold, JSON", seconds, "s"),
        _status(stage),
        _figure("resident memory, idle", stage.idle_memory["VmRSS"], 90),
        _figure(f"resident memory after all of this and with {NAMES:,} names", now["VmRSS"], 130),
        Figure("resident memory at most, in that life", now["VmHWM"] / MEGABYTE, "MB"),
    ]


def _status(stage: Stage) -> Figure:
    """``/+status`` of a server that has all names."""
    delays = [seconds_to_get(f"{stage.twistpi.url}/+status", "application/json") for _ in range(stage.rounds(100, 30))]
    median, target = statistics.median(delays) * 1e3, Target("below", 50, of="value")
    note = f"slowest of {len(delays)}: {max(delays) * 1e3:.1f} ms"
    return Figure(f"status with {NAMES:,} names", median, "ms", target=target, note=note)


def _figure(name: str, size: int, limit_megabytes: float) -> Figure:
    return Figure(name, size / MEGABYTE, "MB", target=Target("below", limit_megabytes, of="value"))
