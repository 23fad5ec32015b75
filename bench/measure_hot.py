"""Pages that are ready: what an installer gets that asks for what others asked for before."""

from __future__ import annotations

from bench.client import INSTALLER_ACCEPT, get
from bench.corpus import LARGE_PAGE_FILES, SMALL_PAGE_FILES
from bench.figures import Figure, Target, compared, interleaved
from bench.load import load
from bench.stage import Stage

_RATE = "answers/s"


def measure(stage: Stage) -> list[Figure]:
    """A small page, the same unchanged (304), and a large page, each beside nginx."""
    small = stage.twistpi.page_url(stage.corpus.add_project("hot-small", SMALL_PAGE_FILES))
    large = stage.twistpi.page_url(stage.corpus.add_project("hot-large", LARGE_PAGE_FILES))
    return [*_small_page(stage, small), _page(stage, large, f"hot page of {LARGE_PAGE_FILES:,} files, JSON", 0.9)]


def _small_page(stage: Stage, url: str) -> list[Figure]:
    page = _page(stage, url, f"hot page of {SMALL_PAGE_FILES} files, JSON", 0.85)
    headers = {"Accept": INSTALLER_ACCEPT}
    conditional = {**headers, "If-None-Match": get(url, INSTALLER_ACCEPT).headers["etag"]}
    unchanged, changed = interleaved(
        stage.rounds(5, 2),
        lambda: load(url, _seconds(stage), conditional).answers_per_second,
        lambda: load(url, _seconds(stage), headers).answers_per_second,
    )
    same = compared("unchanged page of 20 files (304)", _RATE, unchanged, changed, "the page itself", Target("at least", 1.0))
    return [page, same]


def _page(stage: Stage, url: str, name: str, limit: float) -> Figure:
    answer = get(url, INSTALLER_ACCEPT)
    reference = stage.nginx.refer(url.rstrip("/").rpartition("/")[2], answer.headers["content-type"], answer.body)
    headers = {"Accept": INSTALLER_ACCEPT}
    ours, theirs = interleaved(
        stage.rounds(5, 2),
        lambda: load(url, _seconds(stage), headers).answers_per_second,
        lambda: load(reference, _seconds(stage), headers).answers_per_second,
    )
    note = f"{len(answer.body):,} bytes of body, not compressed"
    return compared(name, _RATE, ours, theirs, "nginx", Target("at least", limit), note)


def _seconds(stage: Stage) -> int:
    return stage.rounds(2, 1)
