"""Builds of twistpi that are measured: this checkout, another one, or a commit with an environment of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

import attrs

PROJECT = Path(__file__).parent.parent
"""The checkout that these measurements belong to."""


@attrs.frozen
class Build:
    """A tree of twistpi and the interpreter that runs it."""

    tree: Path
    python: Path

    @classmethod
    def of_checkout(cls, tree: Path) -> Build:
        """Return the build of a checkout, with its own ``.venv`` if it has one and this interpreter otherwise."""
        own = tree / ".venv" / "bin" / "python"
        return cls(tree, own if own.exists() else Path(sys.executable))

    @classmethod
    def of_commit(cls, revision: str) -> Build:
        """Return the build of a commit of this repository, made in the temporary directory and kept there for the next run.

        Its dependencies have the versions of this interpreter's packages where both have them, so that only twistpi differs.
        Raises ``CalledProcessError`` when there is no such commit or its dependencies cannot be installed.
        """
        commit = _output("git", "rev-parse", "--verify", f"{revision}^{{commit}}")
        versions = "\n".join(sorted(f"{one.name}=={one.version}" for one in distributions() if one.name != "twistpi"))
        digest = hashlib.sha256(versions.encode()).hexdigest()
        folder = Path(tempfile.gettempdir()) / f"twistpi-bench-build-{commit[:12]}-{digest[:8]}"
        if not folder.exists():
            _make(commit, versions, folder)
        return cls.of_checkout(folder)


THIS = Build(PROJECT, Path(sys.executable))


def default_revision() -> str:
    """Return the newest tag before this commit, or its first parent where nothing is tagged."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "HEAD^"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    return tag.stdout.strip() or "HEAD^"


def _make(commit: str, versions: str, folder: Path) -> None:
    """Export ``commit``, install its dependencies beside it, and rename the whole into place."""
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    archive = subprocess.run(["git", "archive", commit], cwd=PROJECT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(made)], input=archive, check=True)
    (made / "versions.txt").write_text(versions)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(made / ".venv")], check=True)
    install = ["pip", "install", "--quiet", "--python", str(made / ".venv"), "--constraint", str(made / "versions.txt")]
    subprocess.run([*uv, *install, "--requirement", str(made / "pyproject.toml")], check=True)
    made.rename(folder)


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()
