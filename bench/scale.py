"""A server with a million files and ten million entries: ``python -m bench.scale [--files N] [--entries N] [--keep FOLDER]``.

Writes such a directory (about 15 GB and some minutes), builds its view, and measures a server on it beside one on an empty
directory.  With ``--keep`` the directory stays, and a later run uses it as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from bench.client import INSTALLER_ACCEPT, get, seconds_for_pages, seconds_to_get
from bench.corpus import COLD_PROJECTS, MEGABYTE, SMALL_PAGE_FILES
from bench.figures import Figure, Target, as_table, compared, interleaved
from bench.load import load
from bench.scale_history import ScaleHistory
from bench.servers import Twistpi
from bench.stage import Stage

_AT_ONCE = 16
_ROUNDS = 5
_BETWEEN_SECONDS = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when one misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the directory is, or is made and stays")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="twistpi-bench-") as folder:
        stage = Stage.set_up(Path(folder), quick=False)
        kept = options.keep or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        history = ScaleHistory(kept / "scale", options.entries, options.files)
        try:
            figures = list(_measure(stage, history))
        finally:
            stage.clear_away()
    print(as_table(figures))
    return 1 if any(figure.verdict == "MISS" for figure in figures) else 0


def _measure(stage: Stage, history: ScaleHistory) -> Sequence[Figure]:
    if not history.serverdir.exists():
        history.make(stage.corpus.simple_url, stage.say)
    figures = []
    if history.missing() > 0:
        stage.say("building the view")
        figures.append(Figure("view built", history.build(), "entries/s"))
    _starts(stage, stage.folder / "empty")()  # makes the directory
    stage.say("starting")
    long, new = interleaved(_ROUNDS, _starts(stage, history.serverdir), _starts(stage, stage.folder / "empty"))
    figures.append(compared("start to first answer", "s", long, new, "empty", Target("below", 2, of="value")))
    ours = Twistpi.start(history.serverdir, stage.corpus.simple_url)
    theirs = Twistpi.start(stage.folder / "empty", stage.corpus.simple_url)
    try:
        time.sleep(2)
        figures.append(_memory("resident memory after the start", ours))
        stage.say("waiting for the search index, which the new address of the upstream has compared with the view")
        while orjson.loads(get(f"{ours.url}/+search.json", "application/json").body)["result"]["building"]:
            time.sleep(1)
        stage.say("pages")
        figures += _pages(stage, ours, theirs)
        stage.say("du and gc")
        figures += [_history_figure(history), *_collected(stage, history, ours)]
        figures.append(_memory("resident memory after all of this", ours))
    finally:
        ours.stop()
        theirs.stop()
    return figures


def _starts(stage: Stage, serverdir: Path) -> Callable[[], float]:
    return lambda: Twistpi.seconds_to_answer(serverdir, stage.corpus.simple_url, "/+api")


def _memory(name: str, twistpi: Twistpi) -> Figure:
    return Figure(name, twistpi.server.memory()["VmRSS"] / MEGABYTE, "MB", target=Target("below", 150, of="value"))


def _pages(stage: Stage, ours: Twistpi, theirs: Twistpi) -> Sequence[Figure]:
    hot = stage.corpus.add_project("hot-at-scale", SMALL_PAGE_FILES)
    headers = {"Accept": INSTALLER_ACCEPT}
    for twistpi in (ours, theirs):
        get(twistpi.page_url(hot), INSTALLER_ACCEPT)

    def rate(twistpi: Twistpi) -> Callable[[], float]:
        return lambda: load(twistpi.page_url(hot), 2, headers).answers_per_second

    cold = [stage.corpus.add_cold_projects(f"cold-{time.time_ns()}") for _ in range(_ROUNDS)]

    def cold_rate(twistpi: Twistpi) -> Callable[[], float]:
        fresh = iter(cold)
        return lambda: COLD_PROJECTS / seconds_for_pages([twistpi.page_url(name) for name in next(fresh)], _AT_ONCE)

    least = Target("at least", 0.9)
    hot_rates = interleaved(_ROUNDS, rate(ours), rate(theirs))
    cold_rates = interleaved(_ROUNDS, cold_rate(ours), cold_rate(theirs))
    return (
        compared("hot page of 20 files", "answers/s", hot_rates[0], hot_rates[1], "empty", least),
        compared("cold pages, 16 at a time", "pages/s", cold_rates[0], cold_rates[1], "empty", least),
    )


def _history_figure(history: ScaleHistory) -> Figure:
    took = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        subprocess.run(_command("du", history.serverdir), capture_output=True, check=True)
        took.append(time.perf_counter() - started)
    note = f"slowest of {_ROUNDS}: {max(took):.2f} s"
    return Figure(f"twistpi du, {history.files:,} files", min(took), "s", target=Target("below", 2, of="value"), note=note)


def _collected(stage: Stage, history: ScaleHistory, twistpi: Twistpi) -> Sequence[Figure]:
    """A collection in the background, and what others wait meanwhile."""
    page = twistpi.page_url(stage.corpus.add_project("asked-for", SMALL_PAGE_FILES))
    get(page, INSTALLER_ACCEPT)
    until = time.perf_counter() + 10
    usual = _slowest(twistpi, page, lambda: time.perf_counter() > until)
    started = time.perf_counter()
    collecting = subprocess.Popen(_command("gc", history.serverdir), stdout=subprocess.DEVNULL)
    slowest = _slowest(twistpi, page, lambda: collecting.poll() is not None)
    seconds = time.perf_counter() - started
    if collecting.returncode:
        raise RuntimeError(f"twistpi gc ended with {collecting.returncode}")
    most = Target("below", 50, of="value")
    return (
        Figure(f"twistpi gc beside a server, {history.files:,} files", seconds, "s", target=Target("below", 60, of="value")),
        Figure("slowest answer meanwhile", slowest * 1e3, "ms", usual * 1e3, "without that", target=most),
    )


def _slowest(twistpi: Twistpi, page: str, is_over: Callable[[], bool]) -> float:
    slowest = 0.0
    while not is_over():
        slowest = max(slowest, seconds_to_get(page, INSTALLER_ACCEPT), seconds_to_get(f"{twistpi.url}/+health", "*/*"))
        time.sleep(_BETWEEN_SECONDS)
    return slowest


def _command(name: str, serverdir: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("twistpi")), name, "--serverdir", str(serverdir), "--json"]


if __name__ == "__main__":
    sys.exit(main())
