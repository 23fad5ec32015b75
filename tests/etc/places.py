"""Servers with names that are hard to quote, for which files are written."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from tests.fakes.live_server import ROOT, server_environment
from twistpi.changelog.disk import Disk
from twistpi.cli.genconfig import Deployment, find_twistd, render, write
from twistpi.server.node import read_node
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage

ODD = "50% of it"
"""A folder's name with a space, and with a percent sign, which half of the programs have a meaning for."""

UPSTREAM = "http://127.0.0.1:9/simple/"
"""Nobody is there."""


def deployment(folder: Path, *, python: str, **fields: Any) -> Deployment:
    """A server below ``folder``; ``fields`` are settings, or ``hostname``, ``user``, ``prefix``."""
    rest = {name: fields.pop(name) for name in ("hostname", "user", "prefix") if name in fields}
    settings = Settings(**{"serverdir": str(folder / ODD / "data"), "port": 4040, **fields})
    told = {"hostname": "pypi.example", "user": getpass.getuser(), **rest}
    return Deployment(settings, str(folder / ODD / "gen-config"), find_twistd(python), **told)


def written(place: Deployment) -> Path:
    """The files of ``place``, on disk, and its server directory."""
    if read_node(place.settings.serverdir) is None:
        settings = attrs.evolve(place.settings, upstream=place.settings.upstream or UPSTREAM, bcrypt_cost=4)
        Storage.open(settings, lambda: datetime.now(UTC), Disk()).close()
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
