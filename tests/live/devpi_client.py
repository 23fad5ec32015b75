"""The real devpi client, at home nowhere but in a folder of the test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import attrs

from tests.live.installers import Pip, clean_environment, program

_PATIENCE = 60


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


@attrs.frozen
class DevpiClient:
    """The command ``devpi`` with a HOME of its own, which pip and uv may share."""

    home: Path

    def environment(self) -> dict[str, str]:
        """What programs run in: nothing but this HOME tells them of an index."""
        found = clean_environment(self.home)
        return {name: value for name, value in found.items() if name not in ("PIP_CONFIG_FILE", "UV_NO_CONFIG")}

    def run(self, *words: str) -> Done:
        """Run ``devpi`` with ``words``.  Blocking."""
        return self._run([program("devpi"), *words])

    def getjson(self, path: str) -> Any:
        """What ``devpi getjson`` shows of ``path``.  Blocking."""
        done = self.run("getjson", path)
        assert done.status == 0, done.told
        return json.loads(done.told)

    def pip(self, python: Path, *words: str) -> Done:
        """Run today's pip for the environment of ``python``; the index is what its configuration says.  Blocking."""
        return self._run(Pip("pip").command(python, *words), PYTHONPATH=str(Pip("pip").home()))

    def uv(self, python: Path, *words: str) -> Done:
        """Run ``uv pip`` likewise.  Blocking."""
        cache = str(self.home / "uv-cache")
        return self._run([program("uv"), "--cache-dir", cache, "pip", *words[:1], "--python", str(python), *words[1:]])

    def _run(self, command: list[str], **more: str) -> Done:
        done = subprocess.run(
            command, env={**self.environment(), **more}, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=_PATIENCE, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stdout, done.stdout
        return Done(done.returncode, done.stdout)
