"""A server that becomes a cluster, and comes back: ``python -m bench.cluster_move [--entries N] [--files N]``.

Writes a directory with a log of that size, moves it into PostgreSQL and a bucket while a server runs on it, stops that, moves
what is new, and starts an empty node.  Then the way back.  What counts is how long nothing can be written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figures import Figure, Target, as_table
from bench.scale_history import ScaleHistory
from tests.fakes.live_server import LiveServer, server_environment
from tests.fakes.postgres import postgres
from tests.fakes.s3_server import S3Server, start_s3_server

_NOWHERE = "http://127.0.0.1:9/simple/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when one misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_move", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="twistpi-bench-") as folder:
        s3 = start_s3_server()
        try:
            figures = list(_measure(Path(folder), s3, options.entries, options.files))
        finally:
            s3.stop()
    print(as_table(figures))
    return 1 if any(figure.verdict == "MISS" for figure in figures) else 0


def _measure(folder: Path, s3: S3Server, entries: int, files: int) -> Iterator[Figure]:
    history = ScaleHistory(folder / "data", entries, files)
    history.make(_NOWHERE, lambda text: print(f"  {text}", flush=True))
    history.build()
    places = (postgres().new_database(), f"s3://{s3.new_bucket()}/twistpi")
    environment = {**server_environment(), **s3.environment, "TWISTPI_S3_ENDPOINT": s3.url}

    def move(path: Path, way: str) -> float:
        words = ["move", "--serverdir", str(path), f"--{way}-changelog", places[0], f"--{way}-blobs", places[1]]
        began = time.perf_counter()
        subprocess.run([str(Path(sys.executable).with_name("twistpi")), *words], check=True, env=environment)
        return time.perf_counter() - began

    server = LiveServer(history.serverdir, folder / "log").start("--offline")
    yield Figure("moved into a cluster while the server runs", entries / move(history.serverdir, "to"), "entries/s")
    began = time.perf_counter()
    server.end()
    move(history.serverdir, "to")
    node = LiveServer(folder / "cache", folder / "node-log", place_option="--cache-dir")
    started = time.perf_counter()
    node.start("--changelog", places[0], "--blobs", places[1], "--offline", environment=environment)
    ended = time.perf_counter()
    yield Figure("a new node serves", ended - started, "s", target=Target("below", 10, of="value"))
    yield Figure("nothing can be written", ended - began, "s", target=Target("below", 10, of="value"))
    back = folder / "back"
    yield Figure("moved out of it while a node runs", entries / move(back, "from"), "entries/s")
    began = time.perf_counter()
    node.end()
    move(back, "from")
    returned = LiveServer(back, folder / "log").start("--offline")
    yield Figure("nothing can be written, back", time.perf_counter() - began, "s", target=Target("below", 10, of="value"))
    returned.end()


if __name__ == "__main__":
    os.environ.pop("TWISTPI_SERVERDIR", None)
    sys.exit(main())
