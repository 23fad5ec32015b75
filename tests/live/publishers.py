"""The programs that people publish releases with, each as its manual says, in clean surroundings."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import attrs

from tests.live.installers import kept_program, program
from tests.live.programs import Done, run_program, tools_environment
from tests.live.projects import FLIT, HATCHLING, PDM, POETRY, SETUPTOOLS, Backend
from tests.live.stages import Stage


class Publisher(Protocol):
    """Something that makes distributions of a project, and something that uploads them."""

    @property
    def name(self) -> str:
        """The program's."""

    @property
    def backend(self) -> Backend:
        """What its users build with."""

    def build(self, project: Path, stage: Stage) -> Done:
        """Make distributions of ``project`` in its folder ``dist``; what builds them comes from ``stage``.  Blocking."""

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """Upload what lies in ``dist`` to ``stage``.  Blocking."""


def _run(project: Path, command: list[str], **more: str) -> Done:
    """Run a program in ``project``; its HOME lies beside."""
    home = project.parent / "home"
    return run_program([program(command[0]), *command[1:]], project, {**tools_environment(home), **more})


def _build(project: Path, stage: Stage) -> Done:
    """``python -m build``, for those who have nothing to build with."""
    return _run(project, ["python", "-m", "build"], PIP_INDEX_URL=stage.simple)


def distributions(project: Path) -> list[str]:
    """The paths of what was built.  Blocking."""
    return sorted(str(file) for file in (project / "dist").iterdir() if file.name[0] != ".")


@attrs.frozen
class Twine:
    """twine, told of the index by a ``.pypirc``."""

    name: str = "twine"
    backend: Backend = SETUPTOOLS

    def build(self, project: Path, stage: Stage) -> Done:
        """See ``Publisher``."""
        return _build(project, stage)

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """See ``Publisher``."""
        section = f"[dev]\nrepository = {stage.url}\nusername = {stage.login}\npassword = {stage.password}\n"
        home = project.parent / "home"
        home.mkdir(exist_ok=True)
        (home / ".pypirc").write_text(f"[distutils]\nindex-servers = dev\n\n{section}")
        command = ["twine", "upload", "--non-interactive", "--disable-progress-bar", "-r", "dev", *words]
        return _run(project, [*command, *distributions(project)])


@attrs.frozen
class Uv:
    """uv."""

    name: str = "uv"
    backend: Backend = HATCHLING

    def build(self, project: Path, stage: Stage) -> Done:
        """See ``Publisher``."""
        return _run(project, ["uv", "build", "--default-index", stage.simple])

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """See ``Publisher``."""
        known = ["--publish-url", stage.url, "--username", stage.login, "--password", stage.password]
        return _run(project, ["uv", "publish", *known, *words, *distributions(project)])


@attrs.frozen
class Poetry:
    """poetry."""

    name: str = "poetry"
    backend: Backend = POETRY

    def build(self, project: Path, stage: Stage) -> Done:
        """See ``Publisher``; poetry brings its own backend."""
        return _run(project, ["poetry", "build", "--no-interaction"])

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """See ``Publisher``."""
        known = {
            "POETRY_REPOSITORIES_DEV_URL": stage.url,
            "POETRY_HTTP_BASIC_DEV_USERNAME": stage.login,
            "POETRY_HTTP_BASIC_DEV_PASSWORD": stage.password,
        }
        return _run(project, ["poetry", "publish", "--no-interaction", "-r", "dev", *words], **known)


@attrs.frozen
class Pdm:
    """pdm, with the versions of its requirements that it was released with."""

    name: str = "pdm"
    backend: Backend = PDM

    def build(self, project: Path, stage: Stage) -> Done:
        """See ``Publisher``."""
        return self._run(project, "build", PDM_PYPI_URL=stage.simple)

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """See ``Publisher``."""
        known = {"PDM_PUBLISH_REPO": stage.url, "PDM_PUBLISH_USERNAME": stage.login, "PDM_PUBLISH_PASSWORD": stage.password}
        return self._run(project, "publish", "--no-build", *words, **known)

    def _run(self, project: Path, *words: str, **more: str) -> Done:
        command = [str(kept_program("pdm[locked]")), "-m", "pdm", *words]
        return _run(project, command, PDM_CHECK_UPDATE="false", **more)


@attrs.frozen
class Hatch:
    """hatch."""

    name: str = "hatch"
    backend: Backend = HATCHLING

    def build(self, project: Path, stage: Stage) -> Done:
        """See ``Publisher``."""
        return _run(project, ["hatch", "build"], PIP_INDEX_URL=stage.simple, UV_DEFAULT_INDEX=stage.simple)

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """See ``Publisher``."""
        known = ["-r", stage.url, "-u", stage.login, "-a", stage.password]
        return _run(project, ["hatch", "publish", "--no-prompt", *known, *words])


@attrs.frozen
class Flit:
    """flit, which builds what it publishes anew each time."""

    name: str = "flit"
    backend: Backend = FLIT

    def build(self, project: Path, stage: Stage) -> Done:
        """See ``Publisher``; the time in the files is fixed, so that they are the same the next time."""
        return _run(project, ["flit", "build", "--no-use-vcs"], SOURCE_DATE_EPOCH="1600000000")

    def publish(self, project: Path, stage: Stage, *words: str) -> Done:
        """See ``Publisher``."""
        known = {"FLIT_INDEX_URL": stage.url, "FLIT_USERNAME": stage.login, "FLIT_PASSWORD": stage.password}
        return _run(project, ["flit", "publish", "--no-use-vcs", *words], SOURCE_DATE_EPOCH="1600000000", **known)


PUBLISHERS: list[Publisher] = [Twine(), Uv(), Poetry(), Pdm(), Hatch(), Flit()]
