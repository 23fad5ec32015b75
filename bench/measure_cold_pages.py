"""Pages that nobody asked for yet: fetched, parsed, logged durably, rendered and answered."""

from __future__ import annotations

from bench.client import HTML_ACCEPT, INSTALLER_ACCEPT, seconds_for_pages, seconds_to_get
from bench.corpus import COLD_PROJECTS, FAR_PREFIX, HTML_PREFIX, LARGE_PAGE_FILES
from bench.figures import Figure, Target, compared, interleaved
from bench.nginx import UPSTREAM_LATENCY_MILLISECONDS
from bench.stage import Stage

_AT_ONCE = 16


def measure(stage: Stage) -> list[Figure]:
    """Many small pages against asking the upstream directly, and the latency of single large ones."""
    return [
        _many(stage, FAR_PREFIX, f"upstream answers after {UPSTREAM_LATENCY_MILLISECONDS} ms", Target("at least", 0.7)),
        _many(stage, "near-", "upstream answers at once", None),
        _large(stage, "large", INSTALLER_ACCEPT, "JSON", 150),
        _large(stage, f"{HTML_PREFIX}large", HTML_ACCEPT, "HTML", 250),
    ]


def _many(stage: Stage, prefix: str, circumstance: str, target: Target | None) -> Figure:
    rounds = stage.rounds(5, 2)
    fresh = iter([stage.corpus.add_cold_projects(f"{prefix}{number}") for number in range(rounds)])
    known = stage.corpus.add_cold_projects(f"{prefix}known")
    assert stage.twistpi  # started before the first round, not in it
    ours, theirs = interleaved(
        rounds,
        lambda: COLD_PROJECTS / seconds_for_pages([stage.twistpi.page_url(name) for name in next(fresh)], _AT_ONCE),
        lambda: COLD_PROJECTS / seconds_for_pages([stage.corpus.page_url(name) for name in known], _AT_ONCE),
    )
    name = f"{COLD_PROJECTS} cold pages, {_AT_ONCE} at a time, {circumstance}"
    return compared(name, "pages/s", ours, theirs, "upstream", target)


def _large(stage: Stage, prefix: str, accept: str, kind: str, limit_milliseconds: float) -> Figure:
    rounds = stage.rounds(7, 3)
    fresh = iter([stage.corpus.add_project(f"{prefix}-{number}", LARGE_PAGE_FILES) for number in range(rounds)])
    known = stage.corpus.page_url(stage.corpus.add_project(f"{prefix}-known", LARGE_PAGE_FILES))
    assert stage.twistpi
    ours, theirs = interleaved(
        rounds,
        lambda: 1000 * seconds_to_get(stage.twistpi.page_url(next(fresh)), accept),
        lambda: 1000 * seconds_to_get(known, accept),
    )
    target = Target("below", limit_milliseconds, of="value")
    name = f"cold page of {LARGE_PAGE_FILES:,} files, {kind} upstream and here"
    return compared(name, "ms", ours, theirs, "upstream", target, f"slowest of {rounds}: {max(ours):.0f} ms")
