"""From starting the process to its first answer; and folding the whole log when the view was lost."""

from __future__ import annotations

import statistics

from bench.figures import Figure, Target
from bench.history import NOBODY, History
from bench.servers import Twistpi
from bench.stage import Stage

_FULL_ENTRIES = 1_000_000
_QUICK_ENTRIES = 100_000


def measure(stage: Stage) -> list[Figure]:
    """A new server, one with a long history, and the rebuild of that history's view."""
    history = History.of(stage.rounds(_FULL_ENTRIES, _QUICK_ENTRIES), stage.say)
    rate = history.rebuild()
    path = f"/root/pypi/+simple/{history.known_project()}/"
    rounds = stage.rounds(5, 3)
    Twistpi.seconds_to_answer(stage.folder / "first", NOBODY, "/root/pypi")  # leaves bytecode, as an installation does
    empty = [Twistpi.seconds_to_answer(stage.folder / f"new-{number}", NOBODY, "/root/pypi") for number in range(rounds)]
    long = [Twistpi.seconds_to_answer(history.serverdir, NOBODY, path) for _ in range(rounds)]
    return [
        _start("start to first answer, new server directory", empty),
        _start(f"start to first answer, log of {history.entries:,} entries", long),
        Figure("rebuild of the view", rate, "entries/s", target=Target("at least", 30_000, of="value")),
    ]


def _start(name: str, seconds: list[float]) -> Figure:
    note = f"slowest of {len(seconds)}: {max(seconds):.2f} s"
    return Figure(name, statistics.median(seconds), "s", target=Target("below", 1.0, of="value"), note=note)
