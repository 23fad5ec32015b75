"""Uploads to a private index: a wheel of a gigabyte in seconds and memory, small wheels a second."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from pathlib import Path

from bench.corpus import MEGABYTE
from bench.figures import Figure, Target
from bench.servers import Twistpi
from bench.stage import Stage
from bench.upload_client import BLOCK, Upload, UploadClient, create_index, small_wheels, upload_together, write_wheel

_MORE_MEGABYTES = 60.0
_CLIENTS = (1, 16)
_SETTLE_SECONDS = 1.5


def measure(stage: Stage) -> list[Figure]:
    """The figures of a process of its own, which lived through nothing before."""
    twistpi = Twistpi.start(stage.folder / "uploads", stage.corpus.simple_url)
    try:
        create_index(twistpi)
        upload_together(twistpi, small_wheels(stage.folder, "warm", 8), 1)
        time.sleep(_SETTLE_SECONDS)
        large = _large(stage, twistpi)
        rates = {clients: _rate(stage, twistpi, clients) for clients in _CLIENTS}
    finally:
        twistpi.stop()
    one, many = (rates[clients] for clients in _CLIENTS)
    return [
        *large,
        Figure("small wheels uploaded, 1 client", one, "wheels/s"),
        Figure(f"small wheels uploaded, {_CLIENTS[1]} clients", many, "wheels/s", one, "1 client", many / one),
    ]


# One large wheel ---------------------------------------------------------------------------------------------------


def _large(stage: Stage, twistpi: Twistpi) -> list[Figure]:
    megabytes = stage.rounds(1024, 128)
    path = stage.folder / "large-1.0-py3-none-any.whl"
    write_wheel(path, "large", "1.0", megabytes << 20)
    reference = _seconds_to_keep(path, stage.folder / "kept")
    upload = Upload.of(path, "large", "1.0")
    before = twistpi.server.memory()["VmRSS"]
    with UploadClient(twistpi.url) as client:
        started = time.perf_counter()
        client.send(upload)
        seconds = time.perf_counter() - started
    more = (twistpi.server.memory()["VmHWM"] - before) / MEGABYTE
    path.unlink()
    size = "1 GiB" if megabytes == 1024 else f"{megabytes} MiB"
    return [
        Figure(f"upload of a wheel of {size}", seconds, "s", reference, "hashing and syncing a copy", seconds / reference),
        Figure(
            f"memory more while a wheel of {size} is uploaded", more, "MB", target=Target("below", _MORE_MEGABYTES, of="value"),
            note="resident at most, beyond what was resident before",
        ),
    ]  # fmt: skip


def _seconds_to_keep(source: Path, target: Path) -> float:
    """What the same bytes cost a program that only reads, hashes as uploads are hashed, and stores them durably."""
    started = time.perf_counter()
    digests = (hashlib.sha256(), hashlib.md5(usedforsecurity=False), hashlib.blake2b(digest_size=32))
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(BLOCK):
            written.write(block)
            for digest in digests:
                digest.update(block)
        written.flush()
        os.fsync(written.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


# Small wheels ------------------------------------------------------------------------------------------------------


def _rate(stage: Stage, twistpi: Twistpi, clients: int) -> float:
    """Wheels a second: the median of some rounds."""
    count = stage.rounds(320, 64)
    rates = []
    for number in range(stage.rounds(3, 1)):
        wheels = small_wheels(stage.folder, f"small{clients}-{number}", count)
        rates.append(count / upload_together(twistpi, wheels, clients))
    return statistics.median(rates)
