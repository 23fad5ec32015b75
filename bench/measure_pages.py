"""Pages for people, on a server with many names, own files and used projects: how long one takes, and how many go out a second.

How long a page takes is measured with another query each time, so that it is made each time; how many go out, with one address,
which the server may repeat for two seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.client import HTML_ACCEPT, get, seconds_to_get
from bench.figures import Figure, Target
from bench.load import CONNECTIONS, load
from bench.measure_search import fill
from bench.servers import Twistpi
from bench.stage import Stage

_PAGES = {
    "first page": "/",
    "index": "/made/dev",
    "index sorted by newest": "/made/dev?sort=newest&page=3",
    "mirror": "/root/pypi",
    "project": "/made/dev/own-17",
    "release": "/made/dev/own-17/1.2",
    "mirrored project": "/root/pypi/used-42",
    "mirrored release": "/root/pypi/used-42/1.0",
    "what is missing": "/made/dvv",
    "status": "/+status",
}
_SECONDS = 2
_MOST_MILLISECONDS = 15
_FEWEST_A_SECOND = 300
_MOST_KILOBYTES = 300
_MISSING = 404


def measure(stage: Stage) -> list[Figure]:
    """A server of its own, offline: what a page needs is there."""
    stage.corpus.add_names()
    serverdir = stage.folder / "pages"
    Twistpi.start(serverdir, stage.corpus.simple_url).stop()
    fill(serverdir)
    twistpi = Twistpi.start(serverdir, stage.corpus.simple_url, "--offline")
    try:
        twistpi.wait_for_view()
        return [figure for name, path in _PAGES.items() for figure in _figures(stage, twistpi, name, path)]
    finally:
        twistpi.stop()


def _figures(stage: Stage, twistpi: Twistpi, name: str, path: str) -> Iterator[Figure]:
    url = f"{twistpi.url}{path}"
    if name == "what is missing":
        size = len(get(url, HTML_ACCEPT, expect=_MISSING).body)
        yield Figure(f"{name}, size", size / 1000, "kB", target=Target("below", _MOST_KILOBYTES, of="value"))
        return
    size = len(get(url, HTML_ACCEPT).body)
    mark = "&" if "?" in url else "?"
    delays = [seconds_to_get(f"{url}{mark}round={number}", HTML_ACCEPT) for number in range(stage.rounds(50, 10))]
    rate = load(url, _SECONDS, {"Accept": HTML_ACCEPT}).answers_per_second
    note = f"{size / 1000:.1f} kB before gzip; slowest of {len(delays)}: {max(delays) * 1e3:.1f} ms"
    median = statistics.median(delays) * 1e3
    yield Figure(f"{name}, median", median, "ms", target=Target("below", _MOST_MILLISECONDS, of="value"), note=note)
    target = Target("at least", _FEWEST_A_SECOND, of="value")
    yield Figure(f"{name}, {CONNECTIONS} clients", rate, "answers/s", target=target)
    yield Figure(f"{name}, size", size / 1000, "kB", target=Target("below", _MOST_KILOBYTES, of="value"))
