"""Durable appends: how many commits a second return with their entry synced, against what the disk can sync."""

from __future__ import annotations

import statistics
import subprocess
import sys

import orjson

from bench.builds import PROJECT
from bench.figures import Figure, Target, compared
from bench.stage import Stage


def measure(stage: Stage) -> list[Figure]:
    """Runs ``bench.appends`` in a process of its own: its reactor must not be this one's."""
    folder = stage.folder / "appends"
    folder.mkdir()
    command = [sys.executable, "-m", "bench.appends", str(folder), str(stage.rounds(5, 3))]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
    rounds = orjson.loads(ran.stdout)
    data_syncs = statistics.median(rounds["fdatasyncs"])
    ratio = statistics.median(ours / theirs for ours, theirs in zip(rounds["commits"], rounds["fdatasyncs"], strict=True))
    return [
        compared(
            f"durable appends, {rounds['waiting']} at once",
            "commits/s",
            rounds["commits"],
            rounds["fsyncs"],
            "the disk's fsyncs a second",
            Target("at least", 20),
            f"the changelog calls fdatasync; of those the disk does {data_syncs:,.0f} a second, one at a time: {ratio:.2f} ×",
        )
    ]
