"""What a login costs installers: a protected index, and pip with a password in its URL."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bench.client import WrongAnswer
from bench.figures import Figure, Target
from bench.stage import Stage

_PROJECTS = 100
_USER, _PASSWORD = "reader", "a password of some length"
_INDEX = "root/pypi"


def measure(stage: Stage) -> list[Figure]:
    """How many passwords are verified, and how long it takes, while pip installs 100 files from a protected index."""
    projects = [f"login{number:03}" for number in range(_PROJECTS)]
    for project in projects:
        stage.corpus.add_small_wheel(project)
    _install(stage, stage.twistpi.url, projects)  # from now on every file is here
    _ask(stage, "PUT", f"/{_USER}", {"password": _PASSWORD})
    open_seconds = _install(stage, stage.twistpi.url, projects)
    _ask(stage, "PATCH", f"/{_INDEX}", {"acl_read": [_USER]})
    try:
        before = _verifications(stage)
        address = stage.twistpi.url.replace("://", f"://{_USER}:{_PASSWORD.replace(' ', '%20')}@")
        seconds = _install(stage, address, projects)
        verified = _verifications(stage) - before
    finally:
        _ask(stage, "PATCH", f"/{_INDEX}", ["acl_read-="])
    return [
        Figure(
            f"pip installs {_PROJECTS} files with a password: passwords verified (bcrypt)", verified, "verifications",
            target=Target("at most", 1, of="value"),
        ),
        Figure(
            f"pip installs {_PROJECTS} files with a password", seconds, "s", open_seconds, "an open index", seconds / open_seconds
        ),
    ]  # fmt: skip


def _install(stage: Stage, address: str, projects: Sequence[str]) -> float:
    """Have pip install ``projects`` into an empty folder, without any configuration of its own; the seconds it took."""
    folder = stage.folder / f"installed-{time.monotonic_ns()}"
    command = [
        sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir",
        "--no-deps", "--target", str(folder), "--index-url", f"{address}/{_INDEX}/+simple/", *projects,
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": str(stage.folder), "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started


def _ask(stage: Stage, method: str, path: str, body: Any = None) -> Any:
    """What the server answers to root, whose password is blank."""
    headers: Mapping[str, str] = {
        "Accept": "application/json",
        "Authorization": f"Basic {base64.b64encode(b'root:').decode()}",
    }
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(stage.twistpi.url + path, data, dict(headers), method=method)
    with urllib.request.urlopen(request) as answer:
        return orjson.loads(answer.read())["result"]


def _verifications(stage: Stage) -> int:
    """How many passwords the server verified since it started."""
    for name, _kind, value in _ask(stage, "GET", "/+status")["metrics"]:
        if name == "twistpi_passwords_hashed":
            return int(value)
    raise WrongAnswer("the server does not say how many passwords it verified")
