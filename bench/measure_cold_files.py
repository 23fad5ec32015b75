"""Files that nobody asked for yet: handed out while they are fetched, one fetch for however many clients."""

from __future__ import annotations

import os
import statistics
import time
from urllib.parse import urlsplit

from bench.client import Download, WrongAnswer, download, download_together
from bench.corpus import MEGABYTE
from bench.figures import Figure, Target, compared
from bench.measure_files import file_url
from bench.stage import Stage

_ALONE_MEGABYTES = 64
_SHARED_MEGABYTES = 32
_CLIENTS = 30


def measure(stage: Stage) -> list[Figure]:
    """One client for a large cold file, and thirty for another."""
    return [*_alone(stage), *_shared(stage)]


def _alone(stage: Stage) -> list[Figure]:
    ours, theirs = _downloads(stage, "alone", hashed=False)
    later = statistics.median(1000 * (our.first_byte - their.first_byte) for our, their in zip(ours, theirs, strict=True))
    first = Figure(
        f"cold {_ALONE_MEGABYTES} MB file: first byte after the upstream's own",
        later,
        "ms",
        statistics.median(1000 * their.first_byte for their in theirs),
        "upstream's first byte",
        target=Target("at most", 20, of="value"),
    )
    whole = compared(
        f"cold {_ALONE_MEGABYTES} MB file: whole",
        "ms",
        [1000 * our.whole for our in ours],
        [1000 * their.whole for their in theirs],
        "upstream",
        Target("at most", 2.5),
    )
    checked_ours, checked_theirs = _downloads(stage, "checked", hashed=True)
    checked = compared(
        f"cold {_ALONE_MEGABYTES} MB file: whole, for a client that checks the digest as installers do",
        "ms",
        [1000 * our.whole for our in checked_ours],
        [1000 * their.whole for their in checked_theirs],
        "upstream",
    )
    return [first, whole, checked]


def _downloads(stage: Stage, name: str, *, hashed: bool) -> tuple[list[Download], list[Download]]:
    """Cold files through twistpi, and the same from the upstream itself, in turn."""
    ours: list[Download] = []
    theirs: list[Download] = []
    for number in range(stage.rounds(7, 3)):
        direct = stage.corpus.add_file(f"{name}-{number}", _ALONE_MEGABYTES * MEGABYTE)
        cold = _cold_url(stage, f"{name}-{number}")
        ours.append(_whole(download(cold, hashed=hashed), _ALONE_MEGABYTES))
        theirs.append(_whole(download(direct, hashed=hashed), _ALONE_MEGABYTES))
        _forget(stage, f"{name}-{number}")
    return ours, theirs


def _shared(stage: Stage) -> list[Figure]:
    ours, theirs, fetches = [], [], 0
    rounds = stage.rounds(5, 2)
    for number in range(rounds):
        direct = stage.corpus.add_file(f"shared-{number}", _SHARED_MEGABYTES * MEGABYTE)
        cold = _cold_url(stage, f"shared-{number}")
        ours.append(_together(cold))
        fetches = max(fetches, len(stage.nginx.fetches(urlsplit(direct).path)))
        theirs.append(_together(direct))
        _forget(stage, f"shared-{number}")
    _check_bytes(stage)
    name = f"{_CLIENTS} clients for one cold {_SHARED_MEGABYTES} MB file"
    return [
        compared(f"{name}: all whole", "ms", ours, theirs, "nginx", Target("at most", 1.5)),
        Figure(f"{name}: upstream fetches", fetches, "fetches", target=Target("exactly", 1, of="value")),
    ]


def _cold_url(stage: Stage, project: str) -> str:
    """The address at twistpi of a file that it has not, once the disk is done with the files before it."""
    url = file_url(stage, project)
    os.sync()
    return url


def _forget(stage: Stage, project: str) -> None:
    """Remove a file here and upstream, once nobody will ask for it again.

    A virtual machine may have to ask its host for every page of memory that it never used before, which makes each round slower
    than the one before it; what is removed is used again.
    """
    name = stage.corpus.remove_file(project)
    while not (kept := list((stage.twistpi.serverdir / "+files").glob(f"*/*/{name}"))):
        time.sleep(0.01)  # it is renamed into place after its last byte was sent
    for path in kept:
        path.unlink()


def _together(url: str) -> float:
    seconds, downloads = download_together(url, _CLIENTS)
    for each in downloads:
        _whole(each, _SHARED_MEGABYTES)
    return 1000 * seconds


def _whole(result: Download, megabytes: int) -> Download:
    if result.size != megabytes * MEGABYTE:
        raise WrongAnswer(f"{result.size} bytes came, not {megabytes} MB")
    return result


def _check_bytes(stage: Stage) -> None:
    """One more cold file for all clients, outside of the timing, with every byte hashed."""
    direct = stage.corpus.add_file("shared-checked", _SHARED_MEGABYTES * MEGABYTE)
    _, downloads = download_together(file_url(stage, "shared-checked"), _CLIENTS, hashed=True)
    if {each.sha256 for each in downloads} != {download(direct, hashed=True).sha256}:
        raise WrongAnswer("clients of one cold file got other bytes than the upstream has")
