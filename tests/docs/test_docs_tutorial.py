"""The tutorial is true: every block is typed, in order, in an empty folder, and answers what the page says."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.docs.terminals import FIRST, Terminals, steps
from tests.fakes.live_server import ROOT
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.programs import tools_environment

PAGE = ROOT / "docs" / "tutorial.rst"
PORT = "4040"


def _checkout(folder: Path) -> None:
    """What the tutorial wants to be there: the sources."""
    ignore = shutil.ignore_patterns(".git", ".*", "__pycache__", "*.egg-info", "*build", "dist", "data", "tests", "bench")
    shutil.copytree(ROOT, folder / "twistpi", ignore=ignore)


def _environment(home: Path, upstream: str) -> dict[str, str]:
    """The network stays out: what the server would fetch comes from ``upstream``, what pip would, from the tests' packages."""
    found = tools_environment(home)
    found.pop("PIP_CONFIG_FILE")
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return {
        **found,
        "PYTHONPATH": os.pathsep.join(packages),
        "PIP_NO_BUILD_ISOLATION": "0",
        "TWISTPI_UPSTREAM": upstream,
        "TWISTPI_BCRYPT_COST": "4",
    }


def _follow(page: str, folder: Path, environment: dict[str, str]) -> None:
    terminals = Terminals(folder, environment)
    try:
        terminals.follow(steps(page), PORT, free_port())
    finally:
        terminals.close()


@in_reactor
async def test_whoever_types_the_tutorial_sees_what_it_says(tmp_path: Path) -> None:
    upstream = FakeUpstream(reactor).start()
    upstream.add_project("django", {wheel_name("Django", "6.0"): make_wheel("Django", "6.0")})
    folder = tmp_path / "empty"
    folder.mkdir()
    _checkout(folder)
    page = PAGE.read_text(encoding="utf-8")
    try:
        await deferToThread(_follow, page, folder, _environment(tmp_path / "home", upstream.index_url))
    finally:
        await upstream.stop()


def test_the_blocks_are_found() -> None:
    found = list(steps(PAGE.read_text(encoding="utf-8")))
    assert [step.typed for step in found if step.terminal == FIRST].count("^C") == 3
    assert any(step.typed.startswith("cat > hello/pyproject.toml <<END\n[project]") for step in found)
    text = ".. code-block:: console\n\n   $ a\n   > b\n   one …\n   …\n   $ c\n\nprose\n"
    first, second = steps(text)
    assert (first.typed, first.seen, second.typed) == ("a\nb", ("one …", "…"), "c")
    assert first.matches("one thing\n")
    assert first.matches("one thing\nand\nanother\n")
    assert not first.matches("two things\n")
    assert not second.matches("a word\n")
