"""The real devpi client 7.3 against a real server: what administrators always typed, step by step."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer
from tests.fakes.ports import free_port
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.devpi_client import DevpiClient, Step
from tests.live.installers import new_environment
from tests.live.programs import Done
from tests.live.stages import PASSWORD
from tests.live.test_live_commands import CHEAP

FEATURES = "supported features: projectconfig-v2, push-no-docs, push-only-docs, push-register-project, server-keyvalue-parsing"
RIGHTS = [
    "acl_upload=jonathan",
    "acl_toxresult_upload=:ANONYMOUS:",
    "mirror_whitelist=",
    "mirror_whitelist_inheritance=intersection",
]
YES = "Are you sure (yes/no)? yes (autoset from -y option)"


async def start(server: LiveServer, upstream: FakeUpstream, *options: str) -> str:
    """Start a server over ``upstream``, which has Django; its address, as people write it."""
    name, needed = wheel_name("django", "5.0"), wheel_name("asgiref", "3.0")
    upstream.add_project(
        "django", {name: make_wheel("django", "5.0", ["asgiref>=3"])}, metadata={name: metadata("django", "5.0", ["asgiref>=3"])}
    )
    upstream.add_project("asgiref", {needed: make_wheel("asgiref", "3.0")})
    upstream.set_names(["django", "asgiref"])
    await deferToThread(server.start, "--upstream", upstream.index_url, *options, environment=CHEAP)
    return server.url.replace("127.0.0.1", "localhost")


async def log_in(step: Step, url: str, user: str = "jonathan") -> None:
    """Connect, make a user, log in as that user."""
    await step("use", url)
    await step("user", "-c", user, f"password={PASSWORD}", "email=jon@example.com")
    await step("login", user, "--password", PASSWORD)


def config_lines(home: Path, index: str) -> list[str]:
    """What ``devpi use`` says of the files that tell installers of an index."""
    files = [".config/pip/pip.conf", ".config/uv/uv.toml", ".pydistutils.cfg", ".buildout/default.cfg"]
    return [*(f"{home / file}: {index}" for file in files), "always-set-cfg: no"]


def test_the_client_is_the_one_this_was_written_for(devpi: DevpiClient) -> None:
    assert devpi.run("--version").lines[0].startswith("devpi-client 7.3.")


@in_reactor
async def test_the_walk_of_an_administrator(server: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step) -> None:
    url = await start(server, upstream)
    await _first_logins(step, url, devpi.home)
    await _a_mirror_and_a_stage(step, url, devpi)
    await _looking_around(step, url, devpi, upstream)
    await _cleaning_up(step, url)
    assert "Traceback" not in server.told()


async def _first_logins(step: Step, url: str, home: Path) -> None:
    assert (await step("use", url)).lines == [
        f"using server: {url}/ (not logged in)",
        "no current index: type 'devpi use -l' to discover indices",
        *config_lines(home, "no config file exists"),
    ]
    logged_in = "credentials valid for 10.00 hours"
    assert (await step("login", "root", "--password", "")).lines == [f"logged in 'root', {logged_in}"]
    assert (await step("user", "-m", "root", f"password={PASSWORD}")).lines == [
        "/root changing password: ********",
        "user modified: root",
    ]
    assert (await step("use")).lines[0] == f"using server: {url}/ (not logged in)", "that was with the old password"
    await step("login", "root", "--password", PASSWORD)
    assert (await step("logoff")).lines == ["login information deleted"]
    refused = await step("login", "root", "--password", "", status=1)
    assert "401 Unauthorized: user 'root' could not be authenticated" in refused.lines
    created = await step("user", "-c", "jonathan", f"password={PASSWORD}", "email=jon@example.com")
    assert created.lines == ["user created: jonathan"]
    assert (await step("login", "jonathan", "--password", PASSWORD)).lines == [f"logged in 'jonathan', {logged_in}"]
    login = json.loads((home / ".devpi/client/auth.json").read_text())
    ((user, token),) = login["auth"][f"{url}/"]
    assert user == "jonathan"
    assert token.isascii()


async def _a_mirror_and_a_stage(step: Step, url: str, devpi: DevpiClient) -> None:
    configured = config_lines(devpi.home, f"{url}/root/pypi/+simple/")
    current = [f"current devpi index: {url}/root/pypi (logged in as jonathan)", FEATURES, *configured]
    assert (await step("use", "--set-cfg", "root/pypi")).lines == current
    assert stat.S_ISREG(os.stat(devpi.home / ".config/pip/pip.conf").st_mode)
    await _install_by_configuration(devpi, "pip")
    await _install_by_configuration(devpi, "uv")
    made = await step("index", "-c", "dev", "bases=root/pypi")
    stage = ["type=stage", "bases=root/pypi", "volatile=True", *RIGHTS]
    assert made.lines == [f"{url}/jonathan/dev?no_projects=:", *stage]
    assert (await step("use", "jonathan/dev")).lines[:1] == [f"current devpi index: {url}/jonathan/dev (logged in as jonathan)"]
    assert (await step("index")).lines == [f"{url}/jonathan/dev:", *stage]
    refused = await step("index", "dev", "volatile=False", "bases+=root/x", status=1)
    assert "400 Bad Request: base index 'root/x' does not exist" in refused.lines
    assert (await step("index")).lines == [f"{url}/jonathan/dev:", *stage]
    await step("login", "root", "--password", PASSWORD)
    await step("index", "-c", "root/x")
    await step("login", "jonathan", "--password", PASSWORD)
    changed = await step("index", "dev", "volatile=False", "bases+=root/x")
    assert changed.lines[:3] == [
        "/jonathan/dev volatile=False",
        "/jonathan/dev bases+=root/x",
        f"{url}/jonathan/dev?no_projects=:",
    ]
    assert {"volatile=False", "bases=root/pypi,root/x"} <= set(changed.lines)
    torch = "mirror_url=https://upstream.example/whl/cu124/"
    mirror = await step("index", "-c", "pytorch", "type=mirror", torch)
    assert mirror.lines == [f"{url}/jonathan/pytorch?no_projects=:", "type=mirror", "volatile=True", torch]


async def _install_by_configuration(devpi: DevpiClient, installer: str) -> None:
    """A plain ``install Django`` with nothing but the files that the client wrote."""
    python = await deferToThread(new_environment, devpi.home / installer)
    install = devpi.pip if installer == "pip" else devpi.uv
    done: Done = await deferToThread(install, python, "install", "Django")
    assert done.status == 0, done.told
    script = "import django, asgiref; print(django.VERSION, asgiref.VERSION)"
    found = await deferToThread(subprocess.run, [str(python), "-c", script], capture_output=True, text=True)
    assert found.stdout == "5.0 3.0\n", found.stderr


async def _looking_around(step: Step, url: str, devpi: DevpiClient, upstream: FakeUpstream) -> None:
    assert (await step("user", "-l")).lines == ["jonathan", "root"]
    assert (await step("user", "jonathan")).lines[0] == f"{url}/jonathan:"
    assert "email=jon@example.com" in (await step("user", "jonathan")).lines
    assert (await step("index", "-l")).lines == ["jonathan/dev", "jonathan/pytorch"]
    assert (await step("use", "-l")).lines == [
        "jonathan/dev bases=root/pypi,root/x volatile=False",
        "jonathan/pytorch bases= volatile=True",
        "root/pypi bases= volatile=False",
        "root/x bases= volatile=True",
    ]
    file = f"{url}/root/pypi/+f/"
    listed = await step("list", "django")
    assert [line.startswith(file) for line in listed.lines] == [True]
    assert listed.told.rstrip().endswith(wheel_name("django", "5.0"))
    assert (await step("list")).lines == [], "what is inherited is not this index's"
    assert "404 Not Found: no project 'nope'" in (await step("list", "nope", status=1)).lines
    stage = await deferToThread(devpi.getjson, "/jonathan/dev")
    assert (stage["type"], stage["result"]["projects"]) == ("indexconfig", [])
    version = await deferToThread(devpi.getjson, "django/5.0")
    assert version["type"] == "versiondata"
    assert version["result"]["+links"][0]["href"].startswith(file)
    users = await deferToThread(devpi.getjson, "/")
    assert sorted(users["result"]["jonathan"]["indexes"]) == ["dev", "pytorch"]
    before = upstream.count("/simple/django/")
    assert (await step("refresh", "django")).lines == ["Refreshed django"]
    assert upstream.count("/simple/django/") == before + 1
    unknown = await step("refresh", "nope")
    assert "Couldn't refresh nope" in unknown.told
    assert "404 Not Found" in unknown.told


async def _cleaning_up(step: Step, url: str) -> None:
    deleting = [f"About to remove: {url}/jonathan/dev", YES, f"DELETE {url}/jonathan/dev"]
    kept = await step("index", "-y", "--delete", "dev", status=1)
    assert kept.lines == [*deleting, "403 Forbidden: index jonathan/dev non-volatile, cannot delete"]
    kept = await step("user", "-y", "--delete", "jonathan", status=1)
    assert "403 Forbidden: user 'jonathan' has non-volatile index: dev" in kept.lines
    await step("index", "dev", "volatile=True")
    deleted = await step("index", "-y", "--delete", "dev")
    assert deleted.lines == [*deleting[:2], f"index deleted: {url}/jonathan/dev"]
    assert (await step("index", "-l")).lines == ["jonathan/pytorch"]
    gone = await step("user", "-y", "--delete", "jonathan")
    assert gone.lines == [f"About to remove: {url}/jonathan", YES, "user deleted: jonathan"]
    assert (await step("user", "-l")).lines == ["root"]
    assert "(not logged in)" in (await step("use", "root/pypi")).lines[0]


@in_reactor
async def test_a_login_outlives_the_server_and_ends_with_its_password(
    server: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step
) -> None:
    port = str(free_port())
    url = await start(server, upstream, "--port", port)
    await log_in(step, url)
    await deferToThread(server.end)
    await deferToThread(server.start, "--port", port, environment=CHEAP)
    assert "(logged in as jonathan)" in (await step("use", f"{url}/root/pypi")).lines[0]
    elsewhere = DevpiClient(devpi.home / "elsewhere")
    assert (await deferToThread(elsewhere.run, "use", f"{url}/root/pypi")).status == 0
    assert (await deferToThread(elsewhere.run, "login", "jonathan", "--password", PASSWORD)).status == 0
    await step("user", "-m", "jonathan", "password=another-password")
    await step("login", "jonathan", "--password", "another-password")
    await step("index", "-c", "dev")
    refused = await deferToThread(elsewhere.run, "index", "-c", "other")
    assert (refused.status, refused.lines[-1]) == (1, "403 Forbidden: no permission to create index jonathan/other: log in first")
    assert "(not logged in)" in (await deferToThread(elsewhere.run, "use", "root/pypi")).lines[0]


@in_reactor
async def test_refusals_are_shown_in_the_words_of_the_protocol(server: LiveServer, upstream: FakeUpstream, step: Step) -> None:
    url = await start(server, upstream)
    await log_in(step, url)
    await step("use", "root/pypi")
    await step("index", "-c", "dev")
    refusals = {
        ("user", "-c", "jonathan", "password=other-password"): "409 Conflict: user already exists",
        ("user", "-m", "root", "title=x"): "403 Forbidden: no permission to modify user root",
        ("user", "-c", "carol", "password=some-password", "shoe=7"): "400 Bad Request: Unknown keys in user config: shoe",
        ("login", "jonathan", "--password", "wrong"): "401 Unauthorized: user 'jonathan' could not be authenticated",
        ("index", "-c", "dev"): "409 Conflict: index 'jonathan/dev' exists",
        ("index", "-c", "root/mine"): "403 Forbidden: no permission to create index root/mine",
        ("index", "-c", "nobody/dev"): "404 Not Found: no user 'nobody'",
        ("index", "-c", "other", "type=kite"): "400 Bad Request: unknown index type 'kite'",
        ("index", "dev", "volatile=maybe"): "400 Bad Request: Unknown boolean value 'maybe'.",
        ("index", "dev", "shoe=7"): "400 Bad Request: indexconfig got unexpected keyword arguments: shoe=7",
        ("index", "dev", "acl_upload-=nobody"): "400 Bad Request: The 'acl_upload' setting doesn't have value 'nobody'",
        ("index", "dev", "bases-="): "400 Bad Request: Default values can't be removed.",
        ("index", "-c", "m", "type=mirror", "mirror_url=ftp://x/"): "400 Bad Request: 'mirror_url' option must be a URL.",
        ("use", "jonathan/none"): "404 Not Found: The stage jonathan/none could not be found.",
    }
    for words, refusal in refusals.items():
        assert (await step(*words, status=1)).lines[-1] == refusal
    assert (await step("index", "-l")).lines == ["jonathan/dev"]


@in_reactor
async def test_with_restricted_rights_everybody_may_still_change_the_own_password(
    server: LiveServer, upstream: FakeUpstream, step: Step
) -> None:
    url = await start(server, upstream, "--restrict-modify", "root")
    await step("use", url)
    refused = await step("user", "-c", "jonathan", f"password={PASSWORD}", status=1)
    assert refused.lines[-1].startswith("403 Forbidden: no permission to create user")
    await step("login", "root", "--password", "")
    await step("user", "-c", "jonathan", f"password={PASSWORD}", "email=jon@example.com")
    await step("login", "jonathan", "--password", PASSWORD)
    await step("user", "-m", "jonathan", "password=another-password")
    await step("login", "jonathan", "--password", "another-password")
    refused = await step("user", "-m", "jonathan", "title=Prof", status=1)
    assert refused.lines[-1] == "403 Forbidden: no permission to modify user jonathan"
    refused = await step("index", "-c", "dev", status=1)
    assert refused.lines[-1] == "403 Forbidden: no permission to create index jonathan/dev"


@in_reactor
async def test_everything_works_below_a_prefix(
    server: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step
) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/devpi"
    await start(server, upstream, "--port", port, "--outside-url", url)
    await log_in(step, url)
    await step("use", "--set-cfg", "root/pypi")
    await step("index", "-c", "dev", "bases=root/pypi")
    assert f"current devpi index: {url}/jonathan/dev (logged in as jonathan)" in (await step("use", "jonathan/dev")).lines
    assert (await step("list", "django")).told.startswith(f"{url}/root/pypi/+f/")
    assert (await step("refresh", "django")).lines == ["Refreshed django"]
    await _install_by_configuration(devpi, "pip")


@in_reactor
async def test_mirrors_are_set_up_and_aimed_elsewhere_while_they_are_used(
    server: LiveServer, upstream: FakeUpstream, step: Step
) -> None:
    url = await start(server, upstream)
    await log_in(step, url)
    await step("use", "root/pypi")
    bare = await step("index", "-c", "up", "type=mirror")
    assert "mirror_url" not in bare.told
    await step("use", "jonathan/up")
    refused = await step("list", "django", status=1)
    assert "502 Bad Gateway" in refused.told
    assert "devpi index jonathan/up mirror_url=" in refused.told
    await step("index", "up", f"mirror_url={upstream.index_url}", "mirror_cache_expiry=0", "title=Ours")
    assert (await step("list", "django")).told.startswith(f"{url}/jonathan/up/+f/")
    upstream.add_project("django", {wheel_name("django", "6.0"): make_wheel("django", "6.0")})
    assert wheel_name("django", "6.0") in (await step("list", "django")).told
    await step("index", "up", "mirror_url=http://127.0.0.1:9/simple/")
    assert wheel_name("django", "6.0") in (await step("list", "django")).told, "what is known stays"
    await step("index", "-y", "--delete", "up")
    await step("index", "-c", "up", "type=mirror", "mirror_url=http://127.0.0.1:9/simple/")
    assert "503 Service Unavailable" in (await step("list", "django", status=1)).told
