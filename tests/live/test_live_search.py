"""Searching a server with real clients, pip 20.3 and XML-RPC: with workers, and on a replica alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xmlrpc.client import ServerProxy

from tests.crash.soaking import until
from tests.crash.uploaders import Uploader
from tests.fakes.distributions import wheel_of
from tests.fakes.live_server import LiveServer
from tests.fakes.ports import free_port
from tests.live.installers import Pip, run
from tests.live.stages import fetch, make_stage
from tests.live.test_live_commands import CHEAP

DEV = "jonathan/dev"
OLD_PIP = Pip("pip==20.3.4")


def upload(server: LiveServer, project: str) -> None:
    answer = Uploader(server, "jonathan").upload(DEV, wheel_of(project, "1.0"))
    assert answer.status == 200, answer


def found(server: LiveServer, query: str) -> list[str]:
    answer: Any = json.loads(fetch(f"{server.url}/+search.json?query={quote(query)}"))
    return [item["name"] for item in answer["result"]["items"]]


def test_pip_search_finds_what_was_uploaded_just_now(server: LiveServer, tmp_path: Path) -> None:
    server.start("--offline", "--workers", "2", environment=CHEAP)
    make_stage(server, DEV)
    upload(server, "seaworthy")
    until(lambda: found(server, "worthy") == ["seaworthy"], server.told)
    command = [sys.executable, "-m", "pip", "search", "--index", f"{server.url}/{DEV}", "seaw"]
    told = run(command, tmp_path / "home", PYTHONPATH=str(OLD_PIP.home()))
    assert f"seaworthy (1.0)  - [{DEV}]" in told


def test_a_replica_searches_by_itself(server: LiveServer, other: LiveServer) -> None:
    port = free_port()
    server.start("--port", str(port), "--offline", environment=CHEAP)
    make_stage(server, DEV)
    upload(server, "seaworthy")
    secret = server.serverdir / "secret"
    other.start("--primary-url", f"http://127.0.0.1:{port}", "--secretfile", str(secret), environment=CHEAP)
    until(lambda: found(other, "seaworthy") == ["seaworthy"], other.told)
    upload(server, "seagoing")
    until(lambda: found(other, "seagoing") == ["seagoing"], other.told)
    server.end()
    hits: Any = ServerProxy(f"{other.url}/{DEV}").search({"name": ["sea"], "summary": ["sea"]}, "or")
    assert sorted(hit["name"] for hit in hits) == ["seagoing", "seaworthy"]
