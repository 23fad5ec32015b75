"""Real installers in clean surroundings: no configuration, cache or variable of the user reaches them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR")
_PATIENCE = 300


def clean_environment(home: Path) -> dict[str, str]:
    """The least a program needs, with ``home`` as its HOME."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "POETRY_CACHE_DIR": str(home / "poetry-cache"),
        "POETRY_CONFIG_DIR": str(home / "poetry-config"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "NO_PROXY": "127.0.0.1",
    }


def run(command: list[str], home: Path, **more: str) -> str:
    """Run a program to its end; what it wrote, or ``AssertionError`` with that when it failed."""
    done = subprocess.run(
        command, env={**clean_environment(home), **more}, cwd=home, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)}\n{told}"
    assert "Traceback" not in told, told
    return told


def program(name: str) -> str:
    """A program that the test extra brings, or that is on the path."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which(name, path=beside)
    assert found, f"{name} is missing: pip install '.[test]'"
    return found


def kept(name: str, fill: Callable[[Path], object]) -> Path:
    """A folder beside the tests' own packages, which ``fill`` filled when it was first needed.  Blocking."""
    home = Path(sys.prefix, "share", "twistpi-tests", name)
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        # Another process may do the same: the first one wins.
        new = Path(tempfile.mkdtemp(dir=home.parent))
        fill(new)
        try:
            os.rename(new, home)
        except OSError:
            shutil.rmtree(new)
    return home


def public_pip(*words: str) -> None:
    """Run pip with the user's own configuration.  Blocking."""
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True, cwd=sys.prefix)


def kept_program(*requirements: str) -> Path:
    """The Python of an environment with a program that does not go with the others of the test extra.  Blocking."""

    def fill(folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        public_pip("--python", str(folder / "bin" / "python"), "install", *requirements)

    return kept(f"program-{' '.join(requirements)}", fill) / "bin" / "python"


class Installer(Protocol):
    """Something that installs into fresh environments."""

    def install(self, folder: Path, index_url: str, *requirements: str) -> Path:
        """Install into a new environment in ``folder``; the environment's Python.  Blocking."""

    def resolve(self, folder: Path, index_url: str, *requirements: str) -> str:
        """Only find out what would be installed; what it said.  Blocking."""


def new_environment(folder: Path) -> Path:
    """An environment without packages in ``folder``; its Python.  Blocking."""
    venv.create(folder / "env", with_pip=False, symlinks=True)
    return folder / "env" / "bin" / "python"


@attrs.frozen
class Pip:
    """pip of some version, kept beside the tests' own packages."""

    requirement: str
    """``pip==23.2.1``, or ``pip`` for today's."""

    def home(self) -> Path:
        """The folder with this pip; installed at first use."""

        def fill(folder: Path) -> None:
            public_pip("install", "--no-deps", "--upgrade", "--target", str(folder), self.requirement)

        return kept(self.requirement, fill)

    def command(self, python: Path, *words: str, caching: str = "--no-cache-dir") -> list[str]:
        """What runs this pip for the environment of ``python``, given that ``home()`` is in PYTHONPATH."""
        return [sys.executable, "-m", "pip", "--python", str(python), caching, *words]

    def _run(self, folder: Path, python: Path, *words: str, caching: str = "--no-cache-dir") -> str:
        return run(self.command(python, *words, caching=caching), folder / "home", PYTHONPATH=str(self.home()))

    def install(self, folder: Path, index_url: str, *requirements: str) -> Path:
        """See ``Installer``."""
        python = new_environment(folder)
        self._run(folder, python, "install", "--index-url", index_url, *requirements)
        return python

    def upgrade(self, folder: Path, index_url: str, certificate: Path, *requirements: str) -> Path:
        """Install into the environment in ``folder``, made when it is new, over TLS and with a cache that lives on.  Blocking."""
        python = folder / "env" / "bin" / "python"
        if not python.exists():
            new_environment(folder)
        words = ("install", "--cert", str(certificate), "--index-url", index_url, *requirements)
        self._run(folder, python, *words, caching=f"--cache-dir={folder / 'cache'}")
        return python

    def resolve(self, folder: Path, index_url: str, *requirements: str) -> str:
        """See ``Installer``; pip takes wheels too in a dry run, only its lock command does not."""
        return self._run(folder, new_environment(folder), "lock", "--output", "-", "--index-url", index_url, *requirements)


@attrs.frozen
class Uv:
    """uv."""

    def _run(self, folder: Path, *words: str) -> str:
        return run([program("uv"), "--cache-dir", str(folder / "uv-cache"), *words], folder / "home")

    def install(self, folder: Path, index_url: str, *requirements: str) -> Path:
        """See ``Installer``."""
        python = new_environment(folder)
        self._run(folder, "pip", "install", "--python", str(python), "--index-url", index_url, *requirements)
        return python

    def resolve(self, folder: Path, index_url: str, *requirements: str) -> str:
        """See ``Installer``."""
        folder.mkdir(parents=True, exist_ok=True)
        wanted = folder / "requirements.in"
        wanted.write_text("\n".join(requirements))
        return self._run(folder, "pip", "compile", "--python", sys.executable, "--index-url", index_url, str(wanted))


@attrs.frozen
class Poetry:
    """poetry, with the server as its only source."""

    def _project(self, folder: Path, index_url: str, requirements: tuple[str, ...]) -> Path:
        home = folder / "home"
        home.mkdir(parents=True)
        wanted = ", ".join(f'"{requirement}"' for requirement in requirements)
        project = f'[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = [{wanted}]\n'
        source = f'[[tool.poetry.source]]\nname = "twistpi"\nurl = "{index_url}"\npriority = "primary"\n'
        tool = f"[tool.poetry]\npackage-mode = false\n{source}"
        (home / "pyproject.toml").write_text(project + tool)
        return home

    def install(self, folder: Path, index_url: str, *requirements: str) -> Path:
        """See ``Installer``."""
        home = self._project(folder, index_url, requirements)
        run([program("poetry"), "install", "--no-interaction", "--no-root"], home)
        return home / ".venv" / "bin" / "python"

    def resolve(self, folder: Path, index_url: str, *requirements: str) -> str:
        """See ``Installer``."""
        home = self._project(folder, index_url, requirements)
        run([program("poetry"), "lock", "--no-interaction"], home)
        return (home / "poetry.lock").read_text()
