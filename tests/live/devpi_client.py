"""The real devpi client, with its home in a folder of the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from tests.live.installers import Pip, program
from tests.live.programs import Done, run_program, tools_environment

Step = Callable[..., Coroutine[Deferred[Any], Any, Done]]
"""``await step("use", "root/pypi")``: a devpi command that has to succeed; ``status`` says that it must not, ``folder`` where."""


@attrs.frozen
class DevpiClient:
    """The command ``devpi`` with a HOME of its own, which pip and uv may share."""

    home: Path

    def environment(self) -> dict[str, str]:
        """What programs run in: nothing but this HOME tells them of an index."""
        found = tools_environment(self.home)
        return {name: value for name, value in found.items() if name not in ("PIP_CONFIG_FILE", "UV_NO_CONFIG")}

    def run(self, *words: str, folder: Path | None = None) -> Done:
        """Run ``devpi`` with ``words``, in ``folder`` when that matters.  Blocking."""
        return self._run([program("devpi"), *words], folder)

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

    def _run(self, command: list[str], folder: Path | None = None, **more: str) -> Done:
        done = run_program(command, folder or self.home, {**self.environment(), **more})
        assert "Traceback" not in done.told, done.told
        return done
