"""Measure, show, and keep: ``python -m bench.run [--quick] [--only FAMILY …] [--write-docs]``.

Prints a table to the standard output (``--json`` prints JSON instead) and what is going on to the standard error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson

from bench import (
    measure_advisories,
    measure_appends,
    measure_backup,
    measure_cold_files,
    measure_cold_pages,
    measure_eviction,
    measure_files,
    measure_hot,
    measure_import,
    measure_load,
    measure_logins,
    measure_memory,
    measure_pages,
    measure_policies,
    measure_replicas,
    measure_replicated_files,
    measure_search,
    measure_start,
    measure_unread,
    measure_uploads,
    measure_workers,
)
from bench.documentation import write_documentation
from bench.figures import Figure, as_table
from bench.machine import describe
from bench.stage import Stage

FAMILIES: Mapping[str, Callable[[Stage], list[Figure]]] = {
    "hot": measure_hot.measure,
    "files": measure_files.measure,
    "cold-pages": measure_cold_pages.measure,
    "cold-files": measure_cold_files.measure,
    "policies": measure_policies.measure,
    "advisories": measure_advisories.measure,
    "logins": measure_logins.measure,
    "uploads": measure_uploads.measure,
    "load": measure_load.measure,
    "unread": measure_unread.measure,
    "replicated-files": measure_replicated_files.measure,
    "workers": measure_workers.measure,
    "replicas": measure_replicas.measure,
    "memory": measure_memory.measure,
    "import": measure_import.measure,
    "search": measure_search.measure,
    "eviction": measure_eviction.measure,
    "backup": measure_backup.measure,
    "pages": measure_pages.measure,
    "start": measure_start.measure,
    "appends": measure_appends.measure,
}
"""In the order they run: memory after all that one process goes through."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen families; 1 when a figure misses its target, or could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, a smaller log")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/performance.rst")
    options = parser.parse_args(arguments)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="twistpi-bench-") as folder:
        figures, failures = _measure(Path(folder), options.quick, [name for name in FAMILIES if name in options.only])
    if options.json:
        answer = {"machine": machine, "figures": [figure.as_json() for figure in figures]}
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    else:
        print(as_table(figures))
    if options.write_docs:
        write_documentation(figures, machine)
    return 1 if failures or any(figure.verdict == "MISS" for figure in figures) else 0


def _measure(folder: Path, quick: bool, families: Sequence[str]) -> tuple[list[Figure], int]:
    """The figures of ``families``; a family that fails is told about and does not keep the others from being measured."""
    figures: list[Figure] = []
    failures = 0
    stage = Stage.set_up(folder, quick)
    try:
        for family in families:
            started = time.monotonic()
            stage.say(f"{family} …")
            try:
                measured = FAMILIES[family](stage)
            except Exception as error:
                failures += 1
                stage.say(f"{family} could not be measured: {type(error).__name__}: {error}")
                continue
            figures += measured
            stage.say(f"{as_table(measured)}\n{family} took {time.monotonic() - started:.0f} s\n")
    finally:
        stage.clear_away()
    return figures, failures


if __name__ == "__main__":
    sys.exit(main())
