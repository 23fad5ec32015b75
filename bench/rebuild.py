"""The view built anew by two builds in turn: ``python -m bench.rebuild [REVISION] [--entries N] [--rounds N]``.

Each time a process of its own opens a server directory that has lost its view: it reads, checks and folds the whole log,
as a start does.  The old build is a commit, the new one this checkout.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.builds import THIS, Build, default_revision
from bench.figures import Target, as_table, compared
from bench.history import History

_PROGRAM = """
import gc, resource, sys, time
from datetime import UTC, datetime
from twistpi.changelog.disk import Disk
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage

gc.set_threshold(20_000, 20, 50)  # as a server does
before, started = time.process_time(), time.perf_counter()
storage = Storage.open(Settings(serverdir=sys.argv[1]), lambda: datetime.now(UTC), Disk())
seconds, processor, serial = time.perf_counter() - started, time.process_time() - before, storage.view.position.serial
storage.close()
print(serial / seconds, serial / processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
_TWICE = Target("at least", 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when one misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.rebuild", description=__doc__.split(":", maxsplit=1)[0])
    parser.add_argument("revision", nargs="?", help="the old build: a commit; the last tag, or the first parent, if left out")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    old = Build.of_commit(options.revision or default_revision())
    history = History.of(options.entries, lambda text: print(text, file=sys.stderr))
    runs: dict[Build, list[tuple[float, ...]]] = {old: [], THIS: []}
    with tempfile.TemporaryDirectory(prefix="twistpi-bench-") as name:
        serverdir = Path(name) / "server"
        shutil.copytree(history.serverdir, serverdir)
        for number in range(options.rounds):
            for build in (old, THIS) if number % 2 == 0 else (THIS, old):
                runs[build].append(_rebuild(build, serverdir))
    figures = [
        compared("rebuild of the view", "entries/s", *_pair(runs[THIS], runs[old], 0), "old", _TWICE),
        compared("the same by processor time", "entries/s", *_pair(runs[THIS], runs[old], 1), "old", _TWICE),
        compared("memory at most", "MB", *_pair(runs[THIS], runs[old], 2), "old", Target("below", 150, of="value")),
    ]
    print(as_table(figures))
    return 1 if any(figure.verdict == "MISS" for figure in figures) else 0


def _rebuild(build: Build, serverdir: Path) -> tuple[float, ...]:
    """Entries a second, by the clock and by processor time, and the megabytes that were resident at most."""
    for path in serverdir.glob("view.sqlite*"):
        path.unlink()
    command = [str(build.python), "-c", _PROGRAM, str(serverdir)]
    told = subprocess.run(command, cwd=build.tree, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(build.tree, told.strip(), file=sys.stderr, flush=True)
    return tuple(map(float, told.split()))


def _pair(new: Sequence[tuple[float, ...]], old: Sequence[tuple[float, ...]], which: int) -> tuple[list[float], list[float]]:
    return [run[which] for run in new], [run[which] for run in old]


if __name__ == "__main__":
    sys.exit(main())
