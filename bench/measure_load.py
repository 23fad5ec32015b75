"""A thousand installers at once: nobody refused, pages in time, and memory in bounds."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from urllib.parse import urljoin, urlsplit

import orjson

from bench.builds import PROJECT
from bench.client import INSTALLER_ACCEPT, WrongAnswer, get
from bench.corpus import MEGABYTE, SMALL_PAGE_FILES
from bench.figures import Figure, Target
from bench.servers import Twistpi
from bench.stage import Stage

CONNECTIONS = 1000


def measure(stage: Stage) -> list[Figure]:
    """In a process of its own, so that what this takes is seen alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * CONNECTIONS <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * CONNECTIONS, hard))
    server = Twistpi.start(stage.folder / "crowded", stage.corpus.simple_url)
    try:
        return _measure(stage, server)
    finally:
        server.stop()


def _measure(stage: Stage, server: Twistpi) -> list[Figure]:
    stage.corpus.add_small_wheel("crowd-wheel")
    page = server.page_url(stage.corpus.add_project("crowd", SMALL_PAGE_FILES))
    wheel = server.page_url("crowd-wheel")
    file = urljoin(wheel, orjson.loads(get(wheel, INSTALLER_ACCEPT).body)["files"][0]["url"])
    paths = [urlsplit(url).path for url in (page, f"{file}.metadata", file)]
    for url in (page, f"{file}.metadata", file):
        get(url, INSTALLER_ACCEPT)
    rounds = stage.rounds(8, 3)
    command = [sys.executable, "-m", "bench.crowd", server.url, str(CONNECTIONS), str(rounds), *paths]
    done = subprocess.run(command, capture_output=True, check=True, cwd=PROJECT)
    told = orjson.loads(done.stdout)
    if told["failures"]:
        raise WrongAnswer(f"of {CONNECTIONS} installers some failed: {told['failures']}")
    milliseconds = [seconds * 1000 for seconds in told["page_seconds"]]
    name = f"{CONNECTIONS:,} installers at once"
    note = f"{told['answers']:,} answers, each of them right; a page, metadata and a file in turn, thinking 0.75 s in between"
    return [
        Figure(f"{name}: answers that failed", 0, "answers", target=Target("exactly", 0, of="value"), note=note),
        Figure(f"{name}: a page, median", statistics.median(milliseconds), "ms"),
        Figure(f"{name}: a page, 99 of 100", statistics.quantiles(milliseconds, n=100)[98], "ms",
               target=Target("below", 250, of="value")),
        Figure(f"{name}: resident memory at most", server.server.memory()["VmHWM"] / MEGABYTE, "MB",
               target=Target("below", 256, of="value")),
    ]  # fmt: skip
