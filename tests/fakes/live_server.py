"""A real twistpi: ``twistd`` in a process of its own, on loopback, at a port that was free."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 180.0
"""Seconds after which a process will not do what is waited for, however busy the machine is."""
_ANSWERS = re.compile(r"answers at (https?://\S+?)/?\s*\n")
_TWISTD = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"


def eventually(true: Callable[[], Any]) -> Any:
    """Return what ``true`` returns once it is something.  Blocking."""
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


def server_environment() -> dict[str, str]:
    """The environment of this process, without settings of twistpi's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWISTPI_")}
    return {**environment, "PYTHONPATH": str(ROOT)}


def twistd_command(*words: str) -> list[str]:
    """``twistd`` of the Python that runs the tests."""
    return [sys.executable, "-c", _TWISTD, *words]


@attrs.define(eq=False)
class LiveServer:
    """One server process after the other over the same directory."""

    serverdir: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    """Without a slash at the end, once it was started."""
    program: Sequence[str] = tuple(twistd_command("--nodaemon", "--pidfile=", "twistpi"))
    """What is run, before the options."""
    place_option: str = "--serverdir"
    """The option that names the directory."""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    """What is always in its environment."""

    def spawn(self, *options: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a process; it will need a moment."""
        command = [*self.program, self.place_option, str(self.serverdir), "--port", "0", *options]
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            # Upstreams are in the tests' own process, which may be busy.
            merged = {**server_environment(), "TWISTPI_REQUEST_TIMEOUT": "60", **self.variables, **(environment or {})}
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=merged, cwd=self.log.parent
            )

    def place(self) -> dict[str, str]:
        """The environment in which commands find the directory, and what else the server has in its environment."""
        name = self.place_option.lstrip("-").replace("-", "_").upper()
        return {**self.variables, f"TWISTPI_{name}": str(self.serverdir)}

    def address(self) -> str | None:
        """Where it answers, once it does; ``AssertionError`` when it ended instead."""
        told = self.told()
        if found := _ANSWERS.search(told):
            self.url = found[1]
            return self.url
        assert self.process is not None
        assert self.process.poll() is None, told
        return None

    def start(self, *options: str, environment: Mapping[str, str] | None = None, patience: float = PATIENCE) -> LiveServer:
        """Start a process and wait until it answers.  Blocking."""
        self.spawn(*options, environment=environment)
        self.wait_until_it_answers(patience)
        return self

    def wait_until_it_answers(self, patience: float = PATIENCE) -> None:
        """Return when it does.  Blocking."""
        until = time.monotonic() + patience
        while self.address() is None:
            assert time.monotonic() < until, self.told()
            time.sleep(0.005)

    def told(self) -> str:
        """What the process has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def simple(self) -> str:
        """The index that installers are given."""
        return f"{self.url}/root/pypi/+simple/"

    def end(self, how: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Stop the process; its exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(patience)
