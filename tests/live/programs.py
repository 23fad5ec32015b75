"""Runs programs in clean surroundings, whatever their exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs

from tests.live.installers import clean_environment

_PATIENCE = 300


@attrs.frozen
class Done:
    """A program that came to its end."""

    status: int
    told: str
    """What it wrote, on either stream."""

    @property
    def lines(self) -> list[str]:
        """What it wrote, line by line, without what the length of names does to tables."""
        return [" ".join(line.split()) for line in self.told.splitlines()]

    @property
    def text(self) -> str:
        """What it wrote, in one line, without the frames and the breaks of lines that programs put between words."""
        return " ".join(self.told.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())


def tools_environment(home: Path) -> dict[str, str]:
    """The least a program needs; the tools of the test extra are on its path, as they are in an activated environment."""
    found = clean_environment(home)
    beside = Path(sys.executable).parent
    return {**found, "PATH": f"{beside}:{found['PATH']}", "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"}


def run_program(command: list[str], folder: Path, environment: dict[str, str], patience: float = _PATIENCE) -> Done:
    """Run ``command`` in ``folder``, with nobody at the keyboard.  Blocking."""
    done = subprocess.run(
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=patience, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout)
