"""Servers for which files are written, with names that are hard to write."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

from tests.fakes.live_server import ROOT, server_environment
from twistpi.cli.genconfig import Deployment, find_twistd, render, write
from twistpi.server.settings import Settings

ODD = "50% of it"
"""A folder's name with a space, and with a percent sign, which half of the programs have a meaning for."""


def deployment(folder: Path, *, python: str, **fields: Any) -> Deployment:
    """A server below ``folder``; ``fields`` are settings, or ``hostname``, ``user``, ``prefix``."""
    rest = {name: fields.pop(name) for name in ("hostname", "user", "prefix") if name in fields}
    settings = Settings(**{"serverdir": str(folder / ODD / "data"), "port": 4040, **fields})
    told = {"hostname": "pypi.example", "user": getpass.getuser(), **rest}
    return Deployment(settings, str(folder / ODD / "gen-config"), find_twistd(python), **told)


def written(place: Deployment) -> Path:
    """The files of ``place``, on disk."""
    write(render(place), place.directory, force=True)
    return Path(place.directory)


def changed(file: Path, *pairs: tuple[str, str]) -> None:
    """Do what an administrator does with an editor."""
    text = file.read_text(encoding="utf-8")
    for before, after in pairs:
        assert before in text, f"{file.name} has no {before}"
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")


def environment() -> dict[str, str]:
    """What programs find twistpi by, wherever they are run."""
    return {**server_environment(), "PYTHONPATH": str(ROOT)}
