"""What ``twistpi check-index`` and ``twistpi doctor`` say about a server of ours, and about a proxy that is set up badly."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.etc.front import Nginx
from tests.etc.talking import ask as ask_anything
from tests.etc.talking import basic, upload_form
from tests.fakes.live_server import LiveServer
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.test_live_commands import ask, twistpi

ONLY_WITH_LOGIN = {57, 69, 70, 71, 73}
SELDOM = {33, 107}
"""What shows only where there is provenance, or too much to do."""
CAROL = "carol:verysecurepassword"


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """In a folder that nginx's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="twistpi-checking-"))
    folder.chmod(0o755)
    live = LiveServer(folder / "data", folder / "twistd.log")
    yield live
    if live.process is not None:
        live.end()
    shutil.rmtree(folder)


def outcomes(report: str) -> tuple[dict[int, str], set[int]]:
    """What fails, and what cannot be told."""
    found: list[dict[str, Any]] = json.loads(report)["requirements"]
    fails = {one["number"]: one["sentence"] for one in found if one["outcome"] == "fails"}
    return fails, {one["number"] for one in found if one["outcome"] == "unknown"}


def verdicts(report: str) -> dict[str, tuple[str, str]]:
    """Subject -> verdict and sentence."""
    return {one["subject"]: (one["verdict"], one["sentence"]) for one in json.loads(report)}


def fill(server: LiveServer) -> None:
    """``carol/closed`` is carol's alone, and has a wheel."""
    assert ask(server, "PUT", "/carol", {"password": "verysecurepassword"})[0] == 201
    assert ask(server, "PUT", "/carol/closed", {"bases": [], "acl_read": ["carol"]}, CAROL)[0] == 200
    body, kind = upload_form(wheel_name("hush", "1.0"), make_wheel("hush", "1.0"))
    login = basic(*CAROL.split(":"))
    done = ask_anything(f"{server.url}/carol/closed/", "POST", body, Content_Type=kind, Authorization=login)
    assert done.status == 200, done.body


def badly(port: int, server: LiveServer) -> str:
    """Somebody's nginx: a prefix nobody is told of, small uploads, no PUSH, everybody's headers, files without a question."""
    return f"""
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 1m;
        location ~ "^/pkgs/[^/]+/[^/]+/\\+f/(.*)$" {{ try_files /$1 =404; root {server.serverdir}/+files; }}
        location /pkgs/ {{
            limit_except GET POST PUT DELETE {{ deny all; }}
            proxy_set_header X-Outside-Url $http_x_outside_url;
            proxy_set_header Range "";
            proxy_set_header Accept-Encoding "";
            proxy_pass {server.url}/;
        }}
    }}"""


def check(server: LiveServer) -> None:
    """By the main port, and by the index that needs a login."""
    pypi, closed = f"{server.url}/root/pypi/+simple/", f"{server.url}/carol/closed/+simple/"
    assert outcomes(twistpi(server, "check-index", "--json", pypi)) == ({}, ONLY_WITH_LOGIN | SELDOM)
    login = ("--user", "carol", "--password", "verysecurepassword")
    fails, unknown = outcomes(twistpi(server, "check-index", "--json", *login, closed))
    assert (fails, unknown & ONLY_WITH_LOGIN) == ({}, set())
    text = twistpi(server, "check-index", "--project", "six", pypi)
    assert f"{pypi}, looking at six" in text
    assert "0 failed" in text
    assert "cannot be checked: " in twistpi(server, "check-index", "http://127.0.0.1:9/simple/", status=1)
    assert "http or https address" in twistpi(server, "check-index", "upstream.example", status=2)


def doctor(server: LiveServer) -> None:
    """Where all is well, and through a proxy that is set up badly."""
    found = verdicts(twistpi(server, "doctor", "--json"))
    assert {subject: one[0] for subject, one in found.items() if one[0] != "ok"} == {"root": "advice", "forwarding": "unknown"}
    assert "carol/closed" in found["seclusion"][1]
    port = free_port()
    nginx = Nginx(server.log.parent)
    nginx.configure([badly(port, server)])
    try:
        nginx.start(f"http://127.0.0.1:{port}/")
        told = twistpi(server, "doctor", f"http://127.0.0.1:{port}/pkgs", status=1, both=True)
    finally:
        nginx.stop()
    wrong = {line.split()[1]: line for line in told.splitlines() if line.startswith("WRONG")}
    assert set(wrong) == {"address", "methods", "uploads", "forwarding", "seclusion"}, told
    assert "client_max_body_size 4096m" in wrong["uploads"]
    assert "although carol/closed is protected" in wrong["seclusion"]
    assert "packing" in told
    assert "5 things are wrong" in told
    nobody = twistpi(server, "doctor", "http://127.0.0.1:9/", status=1, both=True)
    assert "Does the server run, and is the address right?" in nobody


@in_reactor
async def test_our_own_server_is_found_to_be_right_and_a_bad_proxy_wrong(server: LiveServer, upstream: FakeUpstream) -> None:
    old, new = wheel_name("six", "1.0"), wheel_name("six", "2.0")
    upstream.add_project(
        "six", {old: make_wheel("six", "1.0"), new: make_wheel("six", "2.0")},
        metadata={old: metadata("six", "1.0"), new: metadata("six", "2.0")},
        extra={old: {"requires-python": ">=3.8", "yanked": 'a "bad" <one>', "upload-time": "2026-11-01T10:00:00Z"}},
    )  # fmt: skip
    upstream.set_names(["six", "seven"])
    environment = {"TWISTPI_BCRYPT_COST": "4", "TWISTPI_TRUSTED_PROXY": "127.0.0.1"}
    await deferToThread(server.start, "--upstream", upstream.index_url, environment=environment)
    await deferToThread(fill, server)
    await deferToThread(check, server)
    await deferToThread(doctor, server)
