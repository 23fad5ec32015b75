"""Server directories that no server has, and commands on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from twistpi.changelog.disk import Disk
from twistpi.cli.main import main
from twistpi.model.changes import Change, IndexCreated, UserCreated
from twistpi.model.codec import decode_content, encode_content
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Reader

UPSTREAM = "http://127.0.0.1:9/simple/"


def now() -> datetime:
    return datetime(2026, 11, 22, 17, tzinfo=UTC)


def settings(path: Path) -> Settings:
    return Settings(serverdir=str(path), upstream=UPSTREAM)


def run(path: Path, *words: str, told: str | None = None, **variables: str) -> Result:
    """A command on the server directory ``path``; ``told`` is what people type."""
    environment = {"TWISTPI_SERVERDIR": str(path), "TWISTPI_BCRYPT_COST": "4", **variables}
    return CliRunner().invoke(main, list(words), input=told, env=environment)


@contextmanager
def looking(path: Path) -> Iterator[Reader]:
    """The view of a directory that nobody has."""
    storage = Storage.open(settings(path), now, Disk())
    try:
        yield storage.view.reader
    finally:
        storage.close()


def password_hash_of(path: Path, user: str) -> str | None:
    with looking(path) as reader:
        found = reader.user(user)
    assert found is not None
    return found.password_hash


def write(path: Path, *changes: Change) -> None:
    """Append an entry."""
    storage = Storage.open(settings(path), now, Disk())
    newest = storage.changelog.newest()
    at = max("2026-11-22T17:00:00.000000Z", decode_content(newest.body).at if newest else "")
    body = encode_content(at, "root", list(changes))
    storage.changelog.append([body], expect=storage.changelog.last.serial)
    storage.close()
    Storage.open(settings(path), now, Disk()).close()


def entries(path: Path, after: int) -> Sequence[Any]:
    """What the changelog says after a serial."""
    lines = run(path, "log", "--json", "--after", str(after)).output.splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server directory with a user and an index, to be copied."""
    path = tmp_path_factory.mktemp("made") / "data"
    assert run(path, "init", "--upstream", UPSTREAM).exit_code == 0
    write(path, UserCreated("carol", {}, None), IndexCreated("carol/dev", {"type": "stage", "bases": []}))
    return path


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Path:
    """A server directory with a user and an index."""
    return Path(shutil.copytree(made_once, tmp_path / "data"))
