"""The upstream of the browser tests, in a process of its own: a test that drives a browser blocks the reactor of the tests.

``python -m tests.browser.upstream_process`` writes its address, and ends when its standard input does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from tests.browser.company import NAMES, UPSTREAM
from tests.fakes.live_server import ROOT, server_environment
from tests.fakes.upstream import FakeUpstream


@contextmanager
def running() -> Iterator[str]:
    """Run the process; the address of its index.  Blocking."""
    command = [sys.executable, "-m", "tests.browser.upstream_process"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=server_environment(), cwd=ROOT, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def add_everything(upstream: FakeUpstream) -> None:
    """The projects of the upstream, with core metadata beside their wheels."""
    for package in UPSTREAM:
        files = {name: content for version in package.versions for name, content in package.files(version)}
        wheels = {name: package.metadata(name.split("-")[1]) for name in files if name.endswith(".whl")}
        extra: dict[str, dict[str, Any]] = {
            name: {
                "upload-time": f"2026-0{1 + package.versions.index(version)}-14T09:30:00.000000Z",
                "requires-python": ">=3.11",
                **({"yanked": "Wrong results on big-endian machines"} if version == "2.3.0" else {}),
            }
            for version in package.versions
            for name in files
            if f"-{version}-" in name or f"-{version}." in name
        }
        upstream.add_project(package.name, files, metadata=wheels, extra=extra)
    upstream.set_names(sorted([*NAMES, *(package.name for package in UPSTREAM)]))


class _UntilTheEnd(Protocol):
    """Stops the reactor when there is no input any more."""

    def connectionLost(self, reason: object = None) -> None:
        cast(Any, reactor).stop()


def main() -> None:
    upstream = FakeUpstream(reactor).start()
    add_everything(upstream)
    print(upstream.index_url, flush=True)
    StandardIO(_UntilTheEnd())
    cast(Any, reactor).run()


if __name__ == "__main__":
    main()
