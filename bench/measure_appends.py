"""Durable appends: how many commits a second return with their entry synced, against what the disk can sync."""

from __future__ import annotations

import subprocess
import sys

import orjson

from bench.figures import Figure, Target, compared
from bench.servers import PROJECT
from bench.stage import Stage


def measure(stage: Stage) -> list[Figure]:
    """Runs ``bench.appends`` in a process of its own: its reactor must not be this one's."""
    folder = stage.folder / "appends"
    folder.mkdir()
    command = [sys.executable, "-m", "bench.appends", str(folder), str(stage.rounds(5, 3))]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
    rounds = orjson.loads(ran.stdout)
    name = f"durable appends, {rounds['waiting']} at once"
    target = Target("at least", 20)
    return [compared(name, "commits/s", rounds["commits"], rounds["syncs"], f"the disk's {rounds['sync']}s a second", target)]
