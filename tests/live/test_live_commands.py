"""The commands while a server runs on the directory: they ask it, and what they change counts at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.certificates import write_certificate
from tests.fakes.live_server import PATIENCE, ROOT, LiveServer, eventually, server_environment
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip, Uv

CHEAP = {"TWISTPI_BCRYPT_COST": "4"}


def twistpi(server: LiveServer, *words: str, told: str = "", status: int = 0, both: bool = False, **variables: str) -> str:
    """A command on the directory of ``server``; what it wrote, on either stream or ``both``.  Blocking."""
    command = [sys.executable, "-c", "from twistpi.cli.main import main; main()", *words]
    environment = {**server_environment(), **CHEAP, **server.place(), **variables}
    done = subprocess.run(
        command, input=told, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    if both:
        return done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def ask(server: LiveServer, method: str, path: str, body: Any = None, credentials: str = "") -> tuple[int, Any]:
    """Status and JSON of an answer.  Blocking."""
    request = urllib.request.Request(f"{server.url}{path}", method=method, headers={"Accept": "application/json"})
    if credentials:
        request.add_header("Authorization", "Basic " + b64encode(credentials.encode()).decode())
    content = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, content, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def login(server: LiveServer, user: str, password: str) -> int:
    return ask(server, "POST", "/+login", {"user": user, "password": password})[0]


def test_a_password_is_set_while_the_server_runs_after_it_stopped_and_after_it_was_killed(server: LiveServer) -> None:
    running = server.serverdir / "running.json"
    server.start("--no-root-pypi", environment=CHEAP)
    eventually(running.exists)
    assert ask(server, "PUT", "/carol", {"password": "first password"})[0] == 201
    assert login(server, "root", "") == 200
    assert twistpi(server, "passwd", "root", "--stdin", told="swordfish\n") == "The password of root is set.\n"
    assert login(server, "root", "") == 401
    assert login(server, "root", "swordfish") == 200
    assert "no user 'nobody'" in twistpi(server, "passwd", "nobody", "--stdin", told="x\n", status=1)
    assert server.end() != 1
    assert not running.exists()
    assert twistpi(server, "passwd", "root", "--stdin", told="other\n") == "The password of root is set.\n"
    server.start(environment=CHEAP)
    eventually(running.exists)
    assert login(server, "root", "other") == 200
    assert "swordfish" not in server.told()
    server.end(signal.SIGKILL)
    assert running.exists()
    twistpi(server, "passwd", "root", "--stdin", told="third\n")
    # A user who has forgotten a password is given one even where rights are restricted.
    server.start("--restrict-modify", "root", environment=CHEAP)
    assert login(server, "root", "third") == 200
    twistpi(server, "passwd", "carol", "--stdin", told="second password\n")
    assert login(server, "carol", "second password") == 200


def test_tokens_are_made_listed_and_revoked_while_the_server_runs(server: LiveServer) -> None:
    server.start("--no-root-pypi", environment=CHEAP)
    text = twistpi(server, "token", "create", "--user", "root", "--may", "read,upload", "--days", "90", "--title", "ci").strip()
    status, found = ask(server, "GET", "/+api", credentials=f"__token__:{text}")
    assert (status, found["result"]["authstatus"][:2]) == (200, ["ok", "root"])
    public = text.split("-")[1]
    assert public in twistpi(server, "token", "list")
    assert twistpi(server, "token", "revoke", public) == f"The token {public} of root is revoked.\n"
    assert ask(server, "GET", "/+api", credentials=f"__token__:{text}")[1]["result"]["authstatus"][0] == "noauth"
    assert "cannot be created" in twistpi(server, "token", "create", "--user", "root", "--may", "all", status=1)
    assert "root/none could not be found" in twistpi(
        server, "token", "create", "--user", "root", "--index", "root/none", status=1
    )
    kinds = [change["kind"] for line in twistpi(server, "log", "--json").splitlines() for change in json.loads(line)["changes"]]
    assert kinds[-2:] == ["TokenCreated", "TokenRevoked"]


def test_the_commands_reach_servers_behind_sockets_and_tls(server: LiveServer, tmp_path: Path) -> None:
    key, certificate = write_certificate(tmp_path)
    secure = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    places = ("tcp:0:interface=127.0.0.1", f"unix:{tmp_path / 'socket'}", secure)
    server.start("--no-root-pypi", *(f"--listen={place}" for place in places), environment=CHEAP)
    said = server.serverdir / "running.json"
    eventually(lambda: said.exists() and len(json.loads(said.read_text())["addresses"]) == 3)
    running = json.loads(said.read_text())
    for serial, kind in enumerate(("unix:", "https:"), 1):
        (address,) = [address for address in running["addresses"] if address.startswith(kind)]
        said.write_text(json.dumps({**running, "addresses": [address]}))
        twistpi(server, "passwd", "root", "--stdin", told=f"swordfish {kind}\n")
        entry = json.loads(twistpi(server, "log", "--json", "--after", str(serial)))
        assert [change["kind"] for change in entry["changes"]] == ["UserModified"]


def test_another_secret_than_the_servers_is_told_apart_from_a_refusal(server: LiveServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4)
    secret.chmod(0o600)
    server.start("--no-root-pypi", "--secretfile", str(secret), environment=CHEAP)
    told = twistpi(server, "passwd", "root", "--stdin", told="swordfish\n", status=1)
    assert "it has another secret than this command found" in told
    twistpi(server, "passwd", "root", "--stdin", told="swordfish\n", TWISTPI_SECRETFILE=str(secret))
    assert login(server, "root", "swordfish") == 200


@in_reactor
async def test_explain_has_the_server_ask_the_upstreams_only_when_told_to_and_those_that_may_contribute(
    server: LiveServer, upstream: FakeUpstream
) -> None:
    upstream.add_project("six", {"six-1.0-py3-none-any.whl": b"six"})
    await deferToThread(server.start, "--upstream", upstream.index_url, environment=CHEAP)
    config = {"bases": ["root/pypi"], "acl_read": ["root"]}
    assert (await deferToThread(ask, server, "PUT", "/root/dev", config, "root:"))[0] == 200
    told = await deferToThread(twistpi, server, "explain", "root/dev", "six")
    assert told.startswith("root/dev: it cannot be told now whether six exists\n")
    assert upstream.seen == []
    told = await deferToThread(twistpi, server, "explain", "--fetch", "root/dev", "six")
    assert told.startswith("root/dev: six comes from root/pypi\n")
    assert "six-1.0-py3-none-any.whl" in told
    told = await deferToThread(twistpi, server, "explain", "--fetch", "root/dev", "nope")
    assert told.startswith("root/dev: no index has nope\n")
    await upstream.stop()
    told = await deferToThread(twistpi, server, "explain", "--fetch", "root/dev", "later")
    assert told.startswith("root/dev: it cannot be told now whether later exists\n")
    assert "cannot tell: The upstream of root/pypi cannot be reached for later" in told


@pytest.mark.parametrize("installer", [Pip("pip"), Uv()], ids=str)
@in_reactor
async def test_installers_read_a_protected_index_with_a_token_or_a_password(
    server: LiveServer, upstream: FakeUpstream, tmp_path: Path, installer: Pip | Uv
) -> None:
    name = wheel_name("hello", "1.0")
    upstream.add_project("hello", {name: make_wheel("hello", "1.0")})
    await deferToThread(server.start, "--no-root-pypi", environment=CHEAP)
    await deferToThread(ask, server, "PUT", "/carol", {"password": "swordfish"})
    config = {"type": "mirror", "mirror_url": upstream.index_url, "acl_read": "carol"}
    assert (await deferToThread(ask, server, "PUT", "/carol/up", config, "carol:swordfish"))[0] == 200
    token = (await deferToThread(twistpi, server, "token", "create", "--user", "carol", "--index", "carol/up")).strip()
    simple = f"{server.url}/carol/up/+simple/"
    for folder, credentials in {"token": f"__token__:{token}", "password": "carol:swordfish"}.items():
        index_url = simple.replace("http://", f"http://{credentials}@")
        python = await deferToThread(installer.install, tmp_path / folder, index_url, "hello")
        found = await deferToThread(subprocess.run, [str(python), "-c", "import hello"], capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
    with pytest.raises(AssertionError, match=r"401|credentials"):
        await deferToThread(installer.install, tmp_path / "nobody", simple, "hello")
    version = (await deferToThread(ask, server, "GET", "/carol/up/hello/1.0", None, "carol:swordfish"))[1]
    path = version["result"]["+links"][0]["href"].removeprefix(server.url)
    assert (await deferToThread(ask, server, "GET", path))[0] == 401
    assert (await deferToThread(ask, server, "GET", path, None, f"__token__:{token}"))[0] == 200
