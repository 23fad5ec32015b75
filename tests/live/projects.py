"""A small project, as somebody would have it on disk, for each of the build backends."""

from __future__ import annotations

from pathlib import Path

import attrs

NAME = "mypkg"
VERSION = "1.0"
SUMMARY = "Shows how a release gets from a desk to an index"


@attrs.frozen
class Backend:
    """What makes distributions of a project."""

    requires: str
    module: str
    table: str = ""
    """What it wants to know of the project beside the metadata."""


SETUPTOOLS = Backend("setuptools", "setuptools.build_meta")
HATCHLING = Backend("hatchling", "hatchling.build")
FLIT = Backend("flit_core", "flit_core.buildapi")
POETRY = Backend("poetry-core", "poetry.core.masonry.api", '[tool.poetry]\npackages = [{ include = "mypkg" }]\n')
PDM = Backend("pdm-backend", "pdm.backend", "[tool.pdm]\ndistribution = true\n")

_PYPROJECT = """\
[build-system]
requires = ["{requires}"]
build-backend = "{module}"

[project]
name = "{name}"
version = "{version}"
description = "{summary}"
readme = "README.rst"
requires-python = ">=3.11"
license = "MIT"
license-files = ["LICENSE"]
authors = [{{ name = "Jonathan", email = "jon@example.com" }}]
keywords = ["index", "release"]
classifiers = ["Topic :: System :: Software Distribution"]
dependencies = ["hello>=1"]

[project.optional-dependencies]
loud = ["hello>=1"]

[project.urls]
Homepage = "https://mypkg.example/"

{table}"""
_FILES = {
    "README.rst": "mypkg\n=====\n\nSays hello.\n",
    "LICENSE": "Do what you like.\n",
    "MANIFEST.in": "include tox.ini\n",
    "tox.ini": "[tox]\nenv_list = py\n\n[testenv]\ncommands = python -c \"import mypkg; print('it is', mypkg.VERSION)\"\n",
    "docs/conf.py": 'project = "mypkg"\nextensions = []\n',
    "docs/index.rst": "mypkg\n=====\n\nHow to say hello.\n",
}


def write_project(folder: Path, backend: Backend = SETUPTOOLS, version: str = VERSION) -> Path:
    """A project in ``folder`` that needs ``hello``; ``folder``."""
    files = {
        **_FILES,
        "pyproject.toml": _PYPROJECT.format(
            requires=backend.requires, module=backend.module, table=backend.table, name=NAME, version=version, summary=SUMMARY
        ),
        f"{NAME}/__init__.py": f'"""{SUMMARY}"""\n\nimport hello\n\nVERSION = "{version}"\nGREETING = hello.VERSION\n',
    }
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
