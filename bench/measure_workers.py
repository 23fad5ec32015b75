"""Hot pages with two workers beside one process alone.

The load generator needs processor time as well, and here it has to take that from the cores that are measured.  So what counts is
how many answers come out of a second of processor time of the servers, which the kernel counts for each process: one process
alone, on a core of its own, with wrk on another; then two workers and wrk, all on both cores.  Two workers that are given two
cores answer twice what comes out of a second, as far as they share the clients evenly: with all connections at one, the second
core would lie idle.  (How the two share processor time says nothing here: wrk takes more from one of them than from the other.)
There are sixteen connections for each process: how many requests it finds waiting when it looks decides what each of them costs.
What came out of both cores with wrk among them is shown as well.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.client import INSTALLER_ACCEPT, get
from bench.corpus import SMALL_PAGE_FILES
from bench.figures import Figure, Target, compared, interleaved
from bench.load import CONNECTIONS, load
from bench.servers import Twistpi
from bench.stage import Stage

_WORKERS = 2
_LEAST = 1.6
"""Times the answers of one process that two workers have to give."""
_WARM = 64
"""Requests after which every worker has the page in memory."""


@attrs.frozen
class Run:
    """One load of a few seconds."""

    rate: float
    """Answers a second, whatever else ran."""
    per_cpu_second: float
    """Answers for each second of processor time of the processes that answer."""
    balance: float
    """1 when all of them have as many connections, 1/2 when one of two has them all."""


def measure(stage: Stage) -> list[Figure]:
    """A small page out of memory."""
    project = stage.corpus.add_project("workers-small", SMALL_PAGE_FILES)
    alone = Twistpi.start(stage.folder / "one", stage.corpus.simple_url)
    many = Twistpi.start(stage.folder / "many", stage.corpus.simple_url, "--workers", str(_WORKERS))
    try:
        workers = workers_of(many, _WORKERS)
        for server in (alone, many):
            for _ in range(_WARM):
                get(server.page_url(project), INSTALLER_ACCEPT)
        first, second = sorted(os.sched_getaffinity(0))[:2]
        ones: list[Run] = []
        twos: list[Run] = []
        interleaved(
            stage.rounds(5, 2),
            lambda: _note(ones, _run(stage, alone.page_url(project), [alone.server.process.pid], {first}, {second})),
            lambda: _note(twos, _run(stage, many.page_url(project), workers, {first, second}, {first, second})),
        )
    finally:
        alone.stop()
        many.stop()
    return _figures(ones, twos)


def _figures(ones: Sequence[Run], twos: Sequence[Run]) -> list[Figure]:
    name = f"hot page with {_WORKERS} workers on 2 cores of their own"
    note = (
        "answers per second of processor time of the workers, for two cores, as far as both have their share of the connections"
        f" (balance {min(run.balance for run in twos):.2f}); wrk takes the rest of the machine"
    )
    full = [2 * run.per_cpu_second * run.balance for run in twos]
    shared = [run.rate for run in twos]
    single = [run.per_cpu_second for run in ones]
    rates = [run.rate for run in ones]
    return [
        compared(name, "answers/s", full, single, "one process on one core", Target("at least", _LEAST), note),
        compared(f"hot page with {_WORKERS} workers and wrk on the same 2 cores", "answers/s", shared, rates, "the same"),
    ]


def _run(stage: Stage, url: str, servers: Sequence[int], theirs: set[int], generators: set[int]) -> Run:
    for pid in servers:
        os.sched_setaffinity(pid, theirs)
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, generators)  # wrk inherits it
    try:
        before = [_cpu_seconds(pid) for pid in servers]
        idle = [_descriptors(pid) for pid in servers]
        held: list[int] = []
        middle = threading.Timer(
            0.5, lambda: held.extend(_descriptors(pid) - then for pid, then in zip(servers, idle, strict=True))
        )
        middle.start()
        began = time.perf_counter()
        connections = CONNECTIONS * len(servers)
        rate = load(url, stage.rounds(3, 1), {"Accept": INSTALLER_ACCEPT}, connections).answers_per_second
        seconds = time.perf_counter() - began
        used = [_cpu_seconds(pid) - then for pid, then in zip(servers, before, strict=True)]
        middle.join()
    finally:
        os.sched_setaffinity(0, mine)
    return Run(rate, rate * seconds / sum(used), sum(held) / (len(held) * max(held)))


def _note(runs: list[Run], run: Run) -> float:
    runs.append(run)
    return run.rate


def workers_of(server: Twistpi, count: int) -> list[int]:
    """The processes of the ``count`` workers, once all serve."""
    said = server.server.output
    server.server.wait_until(lambda: said.read_text(errors="replace").count(" serves (process ") >= count)
    return [pid for pid in _children(server.server.process.pid) if "twistpi.workers" in _command(pid)]


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


def _descriptors(pid: int) -> int:
    """How many files and connections a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
