"""Files that are cached: distributions and metadata on their way to installers."""

from __future__ import annotations

from urllib.parse import urljoin

import orjson

from bench.client import INSTALLER_ACCEPT, get
from bench.corpus import MEGABYTE
from bench.figures import Figure, Target, compared, interleaved
from bench.load import load
from bench.stage import Stage

_LARGE_MEGABYTES = 8


def measure(stage: Stage) -> list[Figure]:
    """A large file in bytes, a small one and a metadata file in answers a second, each beside nginx."""
    stage.corpus.add_file("eight", _LARGE_MEGABYTES * MEGABYTE)
    stage.corpus.add_small_wheel("little")
    large = file_url(stage, "eight")
    small = file_url(stage, "little")
    return [
        _bytes(stage, large),
        _answers(stage, small, "cached small wheel"),
        _answers(stage, f"{small}.metadata", "cached metadata file"),
    ]


def file_url(stage: Stage, project: str) -> str:
    """The address of the only file of ``project`` at twistpi, as its page gives it; asks for the page."""
    page = stage.twistpi.page_url(project)
    (link,) = orjson.loads(get(page, INSTALLER_ACCEPT).body)["files"]
    return urljoin(page, str(link["url"]))


def _bytes(stage: Stage, url: str) -> Figure:
    reference = _reference(stage, url)
    ours, theirs = interleaved(
        stage.rounds(5, 2),
        lambda: load(url, _seconds(stage)).bytes_per_second / MEGABYTE,
        lambda: load(reference, _seconds(stage)).bytes_per_second / MEGABYTE,
    )
    return compared(f"cached {_LARGE_MEGABYTES} MB file", "MB/s", ours, theirs, "nginx", Target("at least", 0.9))


def _answers(stage: Stage, url: str, name: str) -> Figure:
    reference = _reference(stage, url)
    ours, theirs = interleaved(
        stage.rounds(5, 2),
        lambda: load(url, _seconds(stage)).answers_per_second,
        lambda: load(reference, _seconds(stage)).answers_per_second,
    )
    note = f"{len(get(url).body):,} bytes"
    return compared(name, "answers/s", ours, theirs, "nginx", Target("at least", 0.5), note)


def _reference(stage: Stage, url: str) -> str:
    return stage.nginx.refer(url.rpartition("/")[2], "application/octet-stream", get(url).body)


def _seconds(stage: Stage) -> int:
    return stage.rounds(2, 1)
