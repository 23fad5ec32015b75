"""Two builds side by side: ``python -m bench.compare [REVISION] [--new DIR] [--only FAMILY …] [--rounds N]``.

The old build is a commit, made in the temporary directory with an environment of its own; the new one is this checkout or that of
``--new``.  Both run at the same time, and every figure is measured in slices that alternate between them, so that a machine that
gets slower for a while makes both slower.  A ratio is the median of the rounds' ratios, new to old.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import attrs
import orjson

from bench.builds import PROJECT, Build, default_revision
from bench.client import INSTALLER_ACCEPT, download, get, seconds_for_pages
from bench.corpus import MEGABYTE, SMALL_PAGE_FILES, Corpus
from bench.figures import Figure, Target, as_table, compared
from bench.history import NOBODY, History
from bench.load import load
from bench.measure_replicas import catch_up
from bench.nginx import Nginx
from bench.servers import Twistpi
from bench.upload_client import create_index, small_wheels, upload_together

_AT_ONCE = 16
_COLD_PAGES = 300
_COLD_MEGABYTES = 32
_UPLOADS = 160
_ENTRIES = 100_000
_SETTLE_SECONDS = 1.5

_AS_FAST = Target("at least", 0.95)
_AS_SHORT = Target("at most", round(1 / 0.95, 2))
_AS_SMALL = Target("at most", 1.02)  # the same server differs by so much from run to run


@attrs.frozen
class Side:
    """One of the two builds, and its server that lives through the whole run."""

    build: Build
    folder: Path
    twistpi: Twistpi
    idle_bytes: int
    """Resident before anything was asked of it."""

    @classmethod
    def start(cls, build: Build, folder: Path, upstream: str) -> Side:
        """Start a server below ``folder``, a second time once its bytecode is written."""
        folder.mkdir()
        Twistpi.start(folder / "server", upstream, build=build).stop()
        twistpi = Twistpi.start(folder / "server", upstream, build=build)
        time.sleep(_SETTLE_SECONDS)
        return cls(build, folder, twistpi, twistpi.server.memory()["VmRSS"])


Measure = Callable[[Side, int], tuple[float, float]]
"""Takes a side and the number of a round; returns a value, and of how many pieces of work it is, or 0 where none are counted."""


@attrs.frozen
class Comparison:
    """What every family is handed."""

    corpus: Corpus
    old: Side
    new: Side
    rounds: int

    def in_turn(self, name: str, unit: str, target: Target, measure: Measure) -> list[Figure]:
        """Return the figures of ``measure``, called for each side in each round: old new, new old, old new …

        Where ``measure`` counts pieces of work, one figure more is the processor time that the server spent on each of them.
        Other programs on the machine disturb that least.
        """
        values: dict[int, list[float]] = {id(self.old): [], id(self.new): []}
        microseconds: dict[int, list[float]] = {id(self.old): [], id(self.new): []}
        for number in range(self.rounds):
            for side in (self.old, self.new) if number % 2 == 0 else (self.new, self.old):
                before = side.twistpi.server.cpu_seconds()
                value, pieces = measure(side, number)
                values[id(side)].append(value)
                if pieces:
                    microseconds[id(side)].append((side.twistpi.server.cpu_seconds() - before) * 1e6 / pieces)
        figures = [compared(name, unit, values[id(self.new)], values[id(self.old)], "old", target)]
        if microseconds[id(self.new)]:
            processor = f"{name}: processor time for each"
            figures.append(compared(processor, "µs", microseconds[id(self.new)], microseconds[id(self.old)], "old", _AS_SHORT))
        for line in as_table(figures).splitlines()[2:]:
            print(line, file=sys.stderr, flush=True)
        return figures


def _cold_pages(comparison: Comparison) -> list[Figure]:
    """Fetched, parsed, logged durably, rendered, answered; each side gets the same pages, both for the first time."""
    corpus = comparison.corpus
    projects = [corpus.add_cold_projects(f"cold-{number}", _COLD_PAGES) for number in range(comparison.rounds)]
    warm = corpus.add_cold_projects("warm", 100)

    def measure(side: Side, number: int) -> tuple[float, float]:
        seconds = seconds_for_pages([side.twistpi.page_url(name) for name in projects[number]], _AT_ONCE)
        return _COLD_PAGES / seconds, _COLD_PAGES

    for side in (comparison.old, comparison.new):
        seconds_for_pages([side.twistpi.page_url(name) for name in warm], _AT_ONCE)
    return comparison.in_turn(f"cold pages of {SMALL_PAGE_FILES} files, {_AT_ONCE} at a time", "pages/s", _AS_FAST, measure)


def _hot(comparison: Comparison) -> list[Figure]:
    """What is ready: a page, the same unchanged, a small file, metadata."""
    page = comparison.corpus.add_project("hot", SMALL_PAGE_FILES)
    comparison.corpus.add_small_wheel("little")
    headers = {"Accept": INSTALLER_ACCEPT}

    def rate(url: Callable[[Side], str], more: Callable[[Side], Mapping[str, str]]) -> Measure:
        def measure(side: Side, _number: int) -> tuple[float, float]:
            answers = load(url(side), 1, {**headers, **more(side)}).answers_per_second
            return answers, answers  # in about a second

        for side in (comparison.old, comparison.new):
            get(url(side), INSTALLER_ACCEPT)
        return measure

    def page_url(side: Side) -> str:
        return side.twistpi.page_url(page)

    def etag(side: Side) -> Mapping[str, str]:
        return {"If-None-Match": get(page_url(side), INSTALLER_ACCEPT).headers["etag"]}

    def wheel(side: Side) -> str:
        return _file_url(side, "little")

    def nothing(_side: Side) -> Mapping[str, str]:
        return {}

    measures = {
        f"hot page of {SMALL_PAGE_FILES} files": rate(page_url, nothing),
        "the same page, unchanged (304)": rate(page_url, etag),
        "cached small wheel": rate(wheel, nothing),
        "cached metadata": rate(lambda side: f"{wheel(side)}.metadata", nothing),
    }
    return [figure for name in measures for figure in comparison.in_turn(name, "answers/s", _AS_FAST, measures[name])]


def _cold_files(comparison: Comparison) -> list[Figure]:
    """A file that is fetched from upstream while it is handed out."""
    for number in range(comparison.rounds):
        comparison.corpus.add_file(f"file-{number}", _COLD_MEGABYTES * MEGABYTE)

    def measure(side: Side, number: int) -> tuple[float, float]:
        return _COLD_MEGABYTES / download(_file_url(side, f"file-{number}")).whole, _COLD_MEGABYTES

    return comparison.in_turn(f"cold file of {_COLD_MEGABYTES} MB", "MB/s", _AS_FAST, measure)


def _uploads(comparison: Comparison) -> list[Figure]:
    """Small wheels to a private index."""
    for side in (comparison.old, comparison.new):
        create_index(side.twistpi)
        upload_together(side.twistpi, small_wheels(side.folder, "warm", 8), 1)

    def measure(clients: int, side: Side, number: int) -> tuple[float, float]:
        wheels = small_wheels(side.folder, f"small{clients}-{number}", _UPLOADS)
        return _UPLOADS / upload_together(side.twistpi, wheels, clients), _UPLOADS

    return [
        figure
        for clients in (1, _AT_ONCE)
        for figure in comparison.in_turn(
            f"small wheels uploaded, {clients} at a time", "wheels/s", _AS_FAST, partial(measure, clients)
        )
    ]


def _start(comparison: Comparison) -> list[Figure]:
    """From the start of a process to its first answer."""
    for side in (comparison.old, comparison.new):
        _copy_history(side, "started").stop()

    def measure(side: Side, _number: int) -> tuple[float, float]:
        return Twistpi.seconds_to_answer(side.folder / "started", NOBODY, "/+api", side.build), 0

    return comparison.in_turn(f"start with {_ENTRIES:,} entries", "s", _AS_SHORT, measure)


def _catch_up(comparison: Comparison) -> list[Figure]:
    """A replica that follows a primary of its own build from the first entry."""
    with ExitStack() as stack:
        primaries = {}
        for side in (comparison.old, comparison.new):
            primaries[id(side)] = _copy_history(side, "primary")
            stack.callback(primaries[id(side)].stop)

        def measure(side: Side, number: int) -> tuple[float, float]:
            serial, seconds = catch_up(primaries[id(side)], side.folder / f"replica-{number}", side.build)
            return serial / seconds, 0

        return comparison.in_turn(f"a replica catches up with {_ENTRIES:,} entries", "entries/s", _AS_FAST, measure)


def _memory(comparison: Comparison) -> list[Figure]:
    """Resident before anything was asked, and now."""
    old, new = (side.twistpi.server.memory() for side in (comparison.old, comparison.new))
    pairs = [
        ("resident memory, idle", comparison.new.idle_bytes, comparison.old.idle_bytes),
        ("resident memory after all of this", new["VmRSS"], old["VmRSS"]),
        ("resident memory at most", new["VmHWM"], old["VmHWM"]),
    ]
    return [compared(name, "MB", [ours / MEGABYTE], [theirs / MEGABYTE], "old", _AS_SMALL) for name, ours, theirs in pairs]


FAMILIES: Mapping[str, Callable[[Comparison], list[Figure]]] = {
    "cold-pages": _cold_pages,
    "hot": _hot,
    "cold-files": _cold_files,
    "uploads": _uploads,
    "start": _start,
    "catch-up": _catch_up,
    "memory": _memory,
}
"""In the order they run."""


def _file_url(side: Side, project: str) -> str:
    """Return the address of the only file of ``project``, as its page gives it."""
    page = side.twistpi.page_url(project)
    (link,) = orjson.loads(get(page, INSTALLER_ACCEPT).body)["files"]
    return urljoin(page, str(link["url"]))


def _copy_history(side: Side, name: str) -> Twistpi:
    """Return a running server with a long log, whose view it folded itself."""
    history = History.of(_ENTRIES, lambda text: print(text, file=sys.stderr))
    shutil.copytree(history.serverdir, side.folder / name, ignore=shutil.ignore_patterns("view.sqlite*"))
    return Twistpi.start(side.folder / name, NOBODY, build=side.build)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen families; return 1 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.split(":", maxsplit=1)[0])
    parser.add_argument("revision", nargs="?", help="the old build: a commit; the last tag, or the first parent, if left out")
    parser.add_argument("--new", type=Path, default=PROJECT, metavar="DIR", help="the new build: a checkout, else this one")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--rounds", type=int, default=7, help="slices of each figure and side")
    options = parser.parse_args(arguments)
    try:
        old_build = Build.of_commit(options.revision or default_revision())
    except subprocess.CalledProcessError as error:
        print(f"the old build cannot be made: {error}", file=sys.stderr)
        return 2
    figures = []
    with tempfile.TemporaryDirectory(prefix="twistpi-compare-") as name, ExitStack() as stack:
        folder = Path(name)
        nginx = Nginx.start(folder)
        stack.callback(nginx.stop)
        corpus = Corpus(folder / "upstream", nginx.upstream_url)
        new_build = Build.of_checkout(options.new.resolve())
        old = Side.start(old_build, folder / "old", corpus.simple_url)
        stack.callback(old.twistpi.stop)
        new = Side.start(new_build, folder / "new", corpus.simple_url)
        stack.callback(new.twistpi.stop)
        comparison = Comparison(corpus, old, new, options.rounds)
        for family in FAMILIES:
            if family in options.only:
                figures += FAMILIES[family](comparison)
    print(as_table(figures).replace("twistpi  ", "new      ", 1))
    return 1 if any(figure.verdict == "MISS" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
