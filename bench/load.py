"""wrk, the load generator: one thread, 16 kept connections unless told otherwise, each asking again as soon as it is answered."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from bench.client import WrongAnswer

CONNECTIONS = 16
_REPORT = Path(__file__).with_name("report.lua")
_COUNTED = re.compile(r"REPORT requests=(\d+) bytes=(\d+) microseconds=(\d+) failed=(\d+)")


@attrs.frozen
class Load:
    """What wrk counted in one run."""

    answers_per_second: float
    bytes_per_second: float


def load(url: str, seconds: float, headers: Mapping[str, str] | None = None, connections: int = CONNECTIONS) -> Load:
    """Ask for ``url`` for about ``seconds``; raises ``WrongAnswer`` when any answer failed."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(_REPORT)]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    counted = _COUNTED.search(output)
    if counted is None:
        raise WrongAnswer(f"wrk said nothing that can be counted: {output}")
    requests, size, microseconds, failed = map(int, counted.groups())
    if failed or not requests:
        raise WrongAnswer(f"{failed} of {requests} requests for {url} failed")
    return Load(requests / microseconds * 1e6, size / microseconds * 1e6)
