"""``pip install .`` and ``pip install -e .`` both give twistd its ``twistpi``, and a server that runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.fakes.live_server import ROOT
from tests.live.installers import clean_environment

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"


def _copy_of_the_project(folder: Path) -> Path:
    """What a checkout holds: building leaves traces beside the sources."""
    project = folder / "checkout"
    project.mkdir()
    for name in ("pyproject.toml", "README.rst"):
        shutil.copy(ROOT / name, project)
    for name in ("twistpi", "twisted", "etc"):
        ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=ignored)
    return project


def _environment_with_dependencies(folder: Path) -> Path:
    """A new environment that finds what twistpi depends on among the packages of the tests, but not twistpi."""
    venv.create(folder / "env", with_pip=False, symlinks=True)
    packages = next((folder / "env" / "lib").iterdir()) / "site-packages"
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env" / "bin" / "python"


def _modules(package: Path) -> set[str]:
    return {str(path.relative_to(package)) for path in package.rglob("*.py")}


def test_the_wheel_is_built_without_warnings(tmp_path: Path) -> None:
    project = _copy_of_the_project(tmp_path)
    shutil.copy(ROOT / "LICENSE", project)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path / "dist"), str(project)]
    environment = {**clean_environment(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=True)
    told = [line for line in (done.stdout + done.stderr).splitlines() if "warn" in line.lower() or "deprecat" in line.lower()]
    assert told == []
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 1


@pytest.mark.parametrize("how", [[], ["--editable"]], ids=["installed", "editable"])
def test_an_installation_gives_twistd_its_twistpi(how: list[str], tmp_path: Path) -> None:
    project = _copy_of_the_project(tmp_path)
    python = _environment_with_dependencies(tmp_path)
    environment = clean_environment(tmp_path / "home")

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(python), *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    without = run("-c", TWISTD, "--help")
    assert "twistpi" not in without
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-build-isolation",
        *how,
        str(project),
    ]
    subprocess.run(pip, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert "twistpi          A Python package index" in run("-c", TWISTD, "--help")
    assert "--mirror-cache-expiry" in run("-c", TWISTD, "twistpi", "--help")
    assert run("-c", "import twistpi; print(twistpi.__file__)").startswith(str(project if how else tmp_path / "env"))
    assert (tmp_path / "env" / "bin" / "twistpi").exists()
    if not how:
        installed = next((tmp_path / "env" / "lib").iterdir()) / "site-packages" / "twistpi"
        assert _modules(installed) == _modules(ROOT / "twistpi")
    templates = (
        "from importlib.resources import files; print(*sorted(one.name for one in files('twistpi').joinpath('etc').iterdir()))"
    )
    assert run("-c", templates).split() == sorted(path.name for path in (ROOT / "etc").iterdir())
    serverdir = str(tmp_path / "data")
    words = ["--nodaemon", "--pidfile=", "twistpi", "--serverdir", serverdir, "--upstream", "http://127.0.0.1:9/", "--port", "0"]
    with subprocess.Popen(
        [str(python), "-c", TWISTD, *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            assert any("answers at" in line for line in iter(server.stdout.readline, ""))
        finally:
            server.terminate()
