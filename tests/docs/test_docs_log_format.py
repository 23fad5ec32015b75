"""The page about the changelog is true: every kind of change is there, and its program verifies a real log."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import get_args

from tests.cli.commands import made, made_once
from tests.fakes.live_server import ROOT
from twistpi.model.changes import Change

__all__ = ["made", "made_once"]

PAGE = (ROOT / "docs" / "log-format.rst").read_text(encoding="utf-8")


def test_every_kind_of_change_is_described() -> None:
    described = set(re.findall(r"^``([A-Z]\w+)``", PAGE, re.MULTILINE))
    assert described == {kind.__name__ for kind in get_args(Change)}


def test_the_program_on_the_page_verifies_a_log_and_finds_what_is_wrong(made: Path) -> None:
    found = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE)
    assert found is not None
    command = [sys.executable, "-c", dedent(found[1])]
    done = subprocess.run(command, cwd=made / "changelog", capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("The chain is whole up to serial 2.\n", "")
    (segment,) = (made / "changelog").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"carol", b"karol", 1))
    done = subprocess.run(command, cwd=made / "changelog", capture_output=True, text=True, check=False)
    assert done.stderr == "00000000000000000001.log is damaged at serial 2\n"
