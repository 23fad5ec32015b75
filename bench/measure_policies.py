"""What policies cost: pages of an index with all rules beside the same of one without any."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.client import INSTALLER_ACCEPT, get, seconds_to_get
from bench.corpus import LARGE_PAGE_FILES, SMALL_PAGE_FILES
from bench.figures import Figure, Target, compared, interleaved
from bench.load import load
from bench.stage import Stage
from bench.upload_client import put_index

_PLAIN, _RULED = "root/plain", "root/ruled"
_RULES = {
    "min_release_age": "7d",
    "min_release_age_exempt": ["policy-other"],
    "allow": ["policy-*"],
    "deny": ["policy-other", "evil*", "policy-other>=2"],
    "quarantined": ["policy-other it steals"],
    "allow_platforms": ["manylinux", "macosx", "win"],
    "allow_python_tags": ["py", "cp3"],
    "deny_prereleases": True,
    "max_file_size": "200M",
    "advisories": "block-severity=high",
}
"""All rules; none of them refuses a file of the corpus, so that both pages have as many."""


def measure(stage: Stage) -> list[Figure]:
    """A hot page of 20 files, and cold ones of 4,000."""
    for name, rules in ((_PLAIN, {}), (_RULED, _RULES)):
        put_index(stage.twistpi, name, {"type": "mirror", "mirror_url": stage.corpus.simple_url, **rules})
    return [_hot(stage), _cold(stage)]


def _url(stage: Stage, index: str, project: str) -> str:
    return f"{stage.twistpi.url}/{index}/+simple/{project}/"


def _hot(stage: Stage) -> Figure:
    project = stage.corpus.add_project("policy-hot", SMALL_PAGE_FILES)
    ruled, plain = (_url(stage, index, project) for index in (_RULED, _PLAIN))
    assert get(ruled, INSTALLER_ACCEPT).body == get(plain, INSTALLER_ACCEPT).body
    headers, seconds = {"Accept": INSTALLER_ACCEPT}, stage.rounds(2, 1)

    def rate(url: str) -> Callable[[], float]:
        return lambda: load(url, seconds, headers).answers_per_second

    # One after the other and the other way round, since a processor that gets warm is slower.
    first, second, third, fourth = interleaved(stage.rounds(8, 2), rate(ruled), rate(plain), rate(plain), rate(ruled))
    name = f"hot page of {SMALL_PAGE_FILES} files, all rules"
    return compared(name, "answers/s", first + fourth, second + third, "without rules", Target("at least", 0.95))


def _cold(stage: Stage) -> Figure:
    rounds = stage.rounds(9, 5)
    names = [stage.corpus.add_project(f"policy-cold-{number}", LARGE_PAGE_FILES) for number in range(rounds)]
    for_ruled, for_plain = iter(names), iter(names)
    ours, theirs = interleaved(
        rounds,
        lambda: 1000 * _seconds(stage, _RULED, next(for_ruled)),
        lambda: 1000 * _seconds(stage, _PLAIN, next(for_plain)),
    )
    name = f"cold page of {LARGE_PAGE_FILES:,} files, all rules"
    return compared(name, "ms", ours, theirs, "without rules", Target("below", 1.3))


def _seconds(stage: Stage, index: str, project: str) -> float:
    time.sleep(0.3)  # what the page before left to do is over
    return seconds_to_get(_url(stage, index, project), INSTALLER_ACCEPT)
