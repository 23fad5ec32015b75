"""A real nginx in front of a real server, both set up with what ``twistpi gen-config`` writes.

The server is the daemon that cron starts, with the umask that twistd gives a daemon; nginx has three ways to it: the plain
variant below a path, the caching variant, and the plain one with TLS.
"""

from __future__ import annotations

import html
import io
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import attrs
import pytest

from tests.etc.front import Nginx, server_block, with_tls
from tests.etc.places import changed, deployment, environment, written
from tests.etc.talking import Answer, ask, basic, upload_form, wait_until
from tests.fakes.certificates import write_certificate
from tests.fakes.ports import free_port
from tests.fakes.wheels import make_wheel, wheel_name
from tests.live.devpi_client import DevpiClient
from tests.live.installers import Pip
from tests.live.test_live_sign_in import Browser
from twistpi.cli.genconfig import render

PASSWORD = "verysecurepassword"
PAYLOAD = os.urandom(300_000)
JSON_PAGE = "application/vnd.pypi.simple.v1+json"
NOTHING: dict[str, Any] = {}
LARGE = 200 * 1024 * 1024
ALICE = basic("alice", PASSWORD)


def crontab_command(crontab: Path) -> str:
    """What cron runs with the machine: a backslash keeps it from seeing a percent sign."""
    (line,) = [line for line in crontab.read_text().splitlines() if line.startswith("@reboot ")]
    return line.removeprefix("@reboot ").replace("\\%", "%")


@attrs.define(eq=False)
class Setup:
    """A server, and nginx in front."""

    folder: Path
    generated: Path
    port: int
    nginx: Nginx
    trust: ssl.SSLContext
    plain: str
    """Addresses, without a slash at the end."""
    caching: str
    secure: str

    @property
    def direct(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def serverdir(self) -> Path:
        return self.generated.parent / "data"

    def start(self) -> None:
        """As cron does, through a shell."""
        command = crontab_command(self.generated / "crontab")
        subprocess.run(command, shell=True, cwd="/", env=environment(), check=True, timeout=180)
        wait_until(lambda: ask(f"{self.direct}/+api").status == 200, self.told)

    def stop(self) -> None:
        """As the crontab says."""
        pid_file = self.generated / "twistpi.pid"
        if pid_file.exists():
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pid_file.exists(), self.told)

    def told(self) -> str:
        log = self.generated / "twistpi.log"
        return log.read_text() if log.exists() else "no log"

    def asked(self) -> list[str]:
        """What the server was asked until now."""
        return re.findall(r'"([A-Z]+ \S+) HTTP/1', (self.folder / "access.log").read_text())

    def asked_meanwhile(self, before: list[str]) -> list[str]:
        return self.asked()[len(before) :]


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    with tempfile.TemporaryDirectory(prefix="twistpi-nginx-") as folder:
        Path(folder).chmod(0o755)  # nginx's user has to get in
        yield from in_front(Path(folder))


def in_front(folder: Path) -> Iterator[Setup]:
    """All of it in ``folder``, until it is not needed any more."""
    port, plain, caching, secure = (free_port() for _ in range(4))
    key, certificate = write_certificate(folder)
    places = {
        prefix: deployment(folder, python=sys.executable, port=port, prefix=prefix, access_log=str(folder / "access.log"))
        for prefix in ("", "/pkgs")
    }
    generated = written(places[""])
    changed(
        generated / "twistpi.toml",
        ('# upstream = "URL"', f'upstream = "http://127.0.0.1:{port}/alice/dev/+simple/"'),
        ("# bcrypt-cost = 12", "bcrypt-cost = 4"),
    )
    texts = {prefix: render(place) for prefix, place in places.items()}
    nginx = Nginx(folder)
    nginx.configure(
        [
            server_block(texts["/pkgs"]["nginx-twistpi.conf"], "plain", plain, folder),
            server_block(texts[""]["nginx-twistpi-caching.conf"], "caching", caching, folder),
            with_tls(server_block(texts[""]["nginx-twistpi.conf"], "secure", free_port(), folder), secure, key, certificate),
        ]
    )
    found = Setup(
        folder, generated, port, nginx, ssl.create_default_context(cafile=str(certificate)), f"http://127.0.0.1:{plain}/pkgs",
        f"http://127.0.0.1:{caching}", f"https://127.0.0.1:{secure}",
    )  # fmt: skip
    try:
        found.start()
        fill(found)
        nginx.start(found.plain)
        yield found
    finally:
        nginx.stop()
        found.stop()


def fill(setup: Setup) -> None:
    """``alice/dev`` is open, ``alice/closed`` is alice's alone; each has a wheel."""

    def put(path: str, body: str) -> None:
        answer = ask(f"{setup.direct}/{path}", "PUT", body.encode(), Authorization=ALICE, Content_Type="application/json")
        assert answer.status in (200, 201), answer.body

    put("alice", f'{{"password": "{PASSWORD}"}}')
    put("alice/dev", '{"type": "stage", "bases": [], "volatile": true}')
    put("alice/closed", '{"type": "stage", "bases": [], "acl_read": ["alice"]}')
    for index, name in (("dev", "demo"), ("closed", "hush")):
        assert upload(setup.direct, f"alice/{index}", wheel_name(name, "1.0"), make_wheel(name, "1.0", [], PAYLOAD)).status == 200
        assert upload(setup.direct, f"alice/{index}", f"{name}-1.0.doc.zip", documentation()).status == 200


def documentation() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.html", "<h1>How to</h1>")
    return packed.getvalue()


def upload(url: str, index: str, filename: str, content: bytes) -> Answer:
    body, kind = upload_form(filename, content)
    return ask(f"{url}/{index}/", "POST", body, Content_Type=kind, Authorization=ALICE)


def file_url(setup: Setup, base: str, index: str, project: str) -> str:
    """Where a page, asked at ``base``, says that the file of ``project`` is."""
    page = f"{base}/{index}/+simple/{project}/"
    answer = ask(page, Accept=JSON_PAGE, Authorization=ALICE, trust=setup.trust)
    assert answer.status == 200, answer.body
    url: str = answer.json()["files"][0]["url"]
    return urljoin(page, url).partition("#")[0]


# Files -------------------------------------------------------------------------------------------------------------


def test_a_file_is_sent_by_nginx_with_the_headers_and_bytes_of_twistpi_which_is_asked_seldom(setup: Setup) -> None:
    url, real = file_url(setup, setup.plain, "alice/dev", "demo"), file_url(setup, setup.direct, "alice/dev", "demo")
    expected, before = ask(real), setup.asked()
    answers = [ask(url) for _ in range(5)]
    assert [answer.headers["cache-status"] for answer in answers] == ["nginx; hit"] * 5
    through_nginx = [line for line in setup.asked_meanwhile(before) if line != f"GET {real.removeprefix(setup.direct)}"]
    assert set(through_nginx) == {"GET /+straight"}
    assert len(through_nginx) < 5, "not once for each, unless ten seconds lie between two"
    for answer in answers:
        assert (answer.status, answer.body) == (200, expected.body)
        for name in ("content-type", "content-length", "etag", "last-modified", "cache-control", "accept-ranges", "vary"):
            assert answer.headers.get(name) == expected.headers.get(name), name
        assert answer.headers["access-control-allow-origin"] == expected.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == expected.headers["access-control-expose-headers"]
        assert "content-encoding" not in answer.headers


def test_parts_heads_and_metadata_are_sent_by_nginx_too(setup: Setup) -> None:
    url = file_url(setup, setup.plain, "alice/dev", "demo")
    whole = ask(url)
    part = ask(url, Range="bytes=100-199", If_Range=whole.headers["etag"])
    assert (part.status, part.body) == (206, whole.body[100:200])
    assert ask(url, Range="bytes=100-199", If_Range='"other"').status == 200
    several = ask(url, Range="bytes=0-1,5-6")
    assert (several.status, several.body) == (200, whole.body)
    head = ask(url, "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole.body)))
    metadata = ask(f"{url}.metadata", Accept_Encoding="gzip")
    assert metadata.body.startswith(b"Metadata-Version: 2.1\nName: demo\n")
    for answer in (part, head, metadata):
        assert answer.headers["cache-status"] == "nginx; hit"


def test_files_that_nginx_sends_count_as_downloads_and_heads_and_later_parts_do_not(setup: Setup) -> None:
    content = make_wheel("hush", "3.0")
    assert upload(setup.direct, "alice/closed", wheel_name("hush", "3.0"), content).status == 200
    page = f"{setup.plain}/alice/closed/+simple/hush/"
    files = ask(page, Accept=JSON_PAGE, Authorization=ALICE).json()["files"]
    url = urljoin(page, next(file["url"] for file in files if "3.0" in file["url"])).partition("#")[0]
    agent = "pip/26.0 CPython/3.13.1"
    answers = [
        ask(url, Authorization=ALICE, User_Agent=agent),
        ask(url, "HEAD", Authorization=ALICE, User_Agent=agent),
        *(ask(url, Authorization=ALICE, User_Agent=agent, Range=part) for part in ("bytes=0-9", "bytes=10-19")),
    ]
    assert [answer.headers["cache-status"] for answer in answers] == ["nginx; hit"] * 4
    told = ask(f"{setup.direct}/alice/closed/hush/+downloads", Accept="application/json", Authorization=ALICE).json()["result"]
    assert told["by_file"][wheel_name("hush", "3.0")] == 2
    assert told["by_installer"]["pip 26.0"] == 2


def test_what_nginx_cannot_answer_about_a_file_goes_to_twistpi(setup: Setup) -> None:
    url = file_url(setup, setup.plain, "alice/dev", "demo")
    tag = ask(url).headers["etag"]
    unchanged = ask(url, If_None_Match=tag)
    assert (unchanged.status, unchanged.headers["etag"], unchanged.body) == (304, tag, b"")
    assert ask(url, Accept="application/json").json()["type"] == "releasefilemeta"
    assert ask(f"{url}?x=1").headers["cache-status"] == "twistpi; hit"
    preflight = ask(url, "OPTIONS", Origin="https://lite.example", Access_Control_Request_Headers="range")
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET, HEAD")
    result = ask(url, "POST", b'{"testenvs": {}}', Content_Type="application/json", Authorization=ALICE)
    assert result.status == 200, result.body
    assert ask(url.replace("demo-1.0", "demo-2.0")).status == 404


def test_what_is_not_for_everybody_is_not_let_out_by_the_shortcut(setup: Setup) -> None:
    for base in (setup.plain, setup.caching, setup.secure):
        url = file_url(setup, base, "alice/closed", "hush")
        for one in (url, f"{url}.metadata"):
            assert ask(one, trust=setup.trust).status == 401
            mine = ask(one, Authorization=ALICE, trust=setup.trust)
            assert (mine.status, mine.headers["cache-status"]) == (200, "nginx; hit")
            assert mine.headers["cache-control"] == "max-age=365000000, immutable, private"
            assert "access-control-allow-origin" not in mine.headers
            assert mine.headers["vary"] == "Authorization, X-Devpi-Auth, Cookie"
            assert ask(one, trust=setup.trust).status == 401, "nothing of what alice was let do is remembered"
        # No other index, spelling or way leads there.
        tail = url.partition("/+f/")[2]
        for path in (
            f"alice/dev/+f/{tail}",
            f"root/pypi/+f/{tail}",
            f"alice/unknown/+f/{tail}",
            f"alice/closed/%2Bf/{tail}",
            f"alice/dev/+f/../../closed/+f/{tail}",
            f"alice/dev//+f/{tail}",
            f"+files/{tail}",
            tail,
        ):
            found = ask(f"{base}/{path}", trust=setup.trust)
            assert found.status in (301, 302, 400, 401, 404), path
            assert PAYLOAD not in found.body
        forged = ask(f"{base}/+twistpi-straight", X_Original_URI=f"/alice/closed/+f/{tail}", trust=setup.trust)
        assert forged.status == 404, "nginx has that for itself"
        assert ask(f"{base}/+straight", X_Original_URI="/alice/dev/+f/x/y/z", trust=setup.trust).status == 404


def test_who_signed_in_gets_what_is_theirs_and_leaves_nothing_to_others(setup: Setup) -> None:
    for base, expected in (
        (setup.plain, "HttpOnly; Path=/pkgs; SameSite=Lax"),
        (setup.caching, "HttpOnly; Path=/; SameSite=Lax"),
        (setup.secure, "Secure; HttpOnly; Path=/; SameSite=Lax"),
    ):
        url, form = file_url(setup, base, "alice/closed", "hush"), "application/x-www-form-urlencoded"
        origin = base.removesuffix("/pkgs")
        body = f"user=alice&password={PASSWORD}".encode()
        answer = ask(f"{base}/+login", "POST", body, Content_Type=form, Origin=origin, trust=setup.trust)
        assert answer.status == 303, answer.body
        cookie, _, flags = answer.headers["set-cookie"].partition("; Max-Age=36000; ")
        assert flags == expected
        for one in (url, f"{url}.metadata", f"{base}/alice/closed/+simple/hush/"):
            for _ in range(2):
                assert ask(one, trust=setup.trust).status == 401
                assert ask(one, Cookie=cookie, trust=setup.trust).status == 200
        assert ask(url, Cookie=cookie, trust=setup.trust).headers["cache-status"] == "nginx; hit"


def test_forms_and_links_work_below_a_path(setup: Setup) -> None:
    alice, release = Browser(setup.plain.removesuffix("/pkgs")), "/pkgs/alice/dev/demo/1.0"
    status, page = alice.post("/pkgs/+login", user="alice", password=PASSWORD, next=f"{release}/+yank")
    assert (status, "Yank demo 1.0" in page) == (200, True)
    status, page = alice.post(f"{release}/+yank", page, reason="sinks")
    assert (status, "This version is yanked." in page, "sinks" in page) == (200, True, True)
    assert re.search(r'alice</a> yanked demo-1.0-py3-none-any.whl on alice/dev<q class="reason">sinks</q>', page)
    pages = {"/pkgs/": alice.get("/pkgs/")[1], release: page, "/pkgs/alice/dev": alice.get("/pkgs/alice/dev")[1]}
    addresses = {
        html.unescape(address).partition("#")[0]
        for text in pages.values()
        for address in re.findall(r'(?:href|src|action)="(?!https?:|[#?])([^"]*)"', text)
    }
    assert all(address.startswith("/pkgs/") for address in addresses if address), addresses
    for address in sorted(addresses - {""}):
        assert alice.get(address)[0] == 200, address
    page = alice.get(f"{release}/+yank")[1]
    status, page = alice.post(f"{release}/+yank", page, undo="1")
    assert (status, "This version is yanked." in page) == (200, False)
    alice.post("/pkgs/+logout", alice.get("/pkgs/+account")[1])
    assert alice.get("/pkgs/alice/closed")[0] == 403


def test_an_index_that_is_closed_is_closed_for_files_that_were_not_asked_for_just_now(setup: Setup) -> None:
    body, kind = b'{"type": "stage", "bases": []}', "application/json"
    assert ask(f"{setup.direct}/alice/shut", "PUT", body, Authorization=ALICE, Content_Type=kind).status in (200, 201)
    assert upload(setup.direct, "alice/shut", wheel_name("shut", "1.0"), make_wheel("shut", "1.0")).status == 200
    url = file_url(setup, setup.plain, "alice/shut", "shut")
    assert ask(url).headers["cache-status"] == "nginx; hit"
    closing = b'["acl_read=alice"]'
    assert ask(f"{setup.direct}/alice/shut", "PATCH", closing, Authorization=ALICE, Content_Type=kind).status == 200
    assert ask(f"{url}.metadata").status == 401


def test_a_file_that_is_not_here_yet_is_fetched_by_twistpi_and_then_sent_by_nginx(setup: Setup) -> None:
    url = file_url(setup, setup.plain, "root/pypi", "demo")
    first = ask(url)
    assert (first.status, first.body.count(PAYLOAD), first.headers["cache-status"]) == (200, 1, "twistpi; fwd=miss; stored")
    wait_until(lambda: ask(url).headers["cache-status"] == "nginx; hit")


# Uploads, methods, addresses ---------------------------------------------------------------------------------------


def test_a_large_upload_reaches_twistpi_while_it_comes(setup: Setup) -> None:
    filename = wheel_name("large", "1.0")
    body, kind = upload_form(filename, make_wheel("large", "1.0", [], bytes(LARGE)))
    host, port = setup.plain.removeprefix("http://").removesuffix("/pkgs").split(":")
    head = f"POST /pkgs/alice/dev/ HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    half = len(body) // 2
    with socket.create_connection((host, int(port)), 60) as client:
        client.sendall(f"{head}Authorization: {ALICE}\r\nConnection: close\r\n\r\n".encode())
        client.sendall(memoryview(body)[:half])
        incoming = setup.serverdir / "incoming"
        wait_until(lambda: any(path.stat().st_size > half * 0.95 for path in incoming.iterdir()))
        assert not any((setup.folder / "temporary-client_body").rglob("*"))
        client.sendall(memoryview(body)[half:])
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:500]
    assert ask(file_url(setup, setup.plain, "alice/dev", "large"), "HEAD").headers["content-length"] == str(
        len(make_wheel("large", "1.0", [], bytes(LARGE)))
    )


def test_the_devpi_client_and_pip_work_below_a_path(setup: Setup, tmp_path: Path) -> None:
    devpi = DevpiClient(tmp_path / "home")
    (tmp_path / "home").mkdir()
    wheel = tmp_path / wheel_name("walk", "1.0")
    wheel.write_bytes(make_wheel("walk", "1.0"))

    def run(*words: str) -> list[str]:
        done = devpi.run(*words)
        assert done.status == 0, done.told
        return done.lines

    run("use", f"{setup.plain}/alice/dev")
    run("login", "alice", "--password", PASSWORD)
    run("index", "-c", "prod", "bases=", "volatile=True")
    run("upload", str(wheel))
    run("push", "walk==1.0", "alice/prod")
    run("use", "alice/prod")
    listed = run("list", "walk")
    assert [line for line in listed if line.startswith(f"{setup.plain}/alice/prod/+f/")], listed
    python = Pip("pip").install(tmp_path / "client", f"{setup.plain}/alice/prod/+simple/", "walk")
    told = subprocess.run([python, "-c", "import walk; print(walk.VERSION)"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "1.0"
    run("remove", "-y", "walk")
    assert "PUSH" in {line.split(" ")[0] for line in setup.asked()}, setup.asked()


def test_addresses_are_those_that_nginx_was_called_by_whatever_a_client_says(setup: Setup) -> None:
    lies: dict[str, Any] = {
        "X_Outside_Url": "https://evil.example/x", "Forwarded": "host=evil.example;proto=https", "X_Forwarded_Prefix": "/evil",
        "X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "ftp", "X_Forwarded_For": "127.0.0.1", "X_Real_IP": "192.0.2.7",
    }  # fmt: skip
    for base in (setup.plain, setup.caching, setup.secure):
        for told in (NOTHING, lies):
            api = ask(f"{base}/alice/dev/+api", trust=setup.trust, **told).json()["result"]
            assert (api["login"], api["simpleindex"]) == (f"{base}/+login", f"{base}/alice/dev/+simple/")
    assert ask(setup.plain).json()["type"] == "list:userconfig"
    redirected = ask(f"{setup.plain}/alice/dev/+simple/Demo")
    assert urljoin(f"{setup.plain}/alice/dev/+simple/Demo", redirected.headers["location"]).startswith(setup.plain)


def test_pages_come_compressed_and_keep_their_validators(setup: Setup) -> None:
    for base in (setup.plain, setup.caching):
        page = ask(f"{base}/alice/dev/+simple/demo/", Accept=JSON_PAGE, Accept_Encoding="gzip")
        assert (page.status, page.headers["content-encoding"]) == (200, "gzip")
        again: dict[str, Any] = {"Accept": JSON_PAGE, "Accept_Encoding": "gzip", "If_None_Match": page.headers["etag"]}
        assert ask(f"{base}/alice/dev/+simple/demo/", **again).status == 304


def test_pip_installs_over_tls(setup: Setup, tmp_path: Path) -> None:
    certificate = setup.folder / "certificate.pem"
    python = Pip("pip").upgrade(tmp_path / "client", f"{setup.secure}/alice/dev/+simple/", certificate, "demo==1.0")
    assert subprocess.run([python, "-c", "import demo"], check=True).returncode == 0


# The daemon --------------------------------------------------------------------------------------------------------


def test_a_daemon_opens_to_others_what_nginx_serves_and_nothing_else(setup: Setup) -> None:
    def modes(folder: Path) -> set[int]:
        return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_dir() is (folder.name == "+files")}

    files = setup.serverdir / "+files"
    assert {path.stat().st_mode & 0o777 for path in files.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (files, *files.rglob("*")) if path.is_dir()} == {0o755}
    closed = ("secret", "view.sqlite", "changelog", "incoming")
    assert {(setup.serverdir / name).stat().st_mode & 0o077 for name in closed} == {0}


# Storage -----------------------------------------------------------------------------------------------------------


def test_the_caching_variant_serves_what_is_for_everybody_while_there_is_no_server(setup: Setup, tmp_path: Path) -> None:
    page, closed = f"{setup.caching}/alice/dev/+simple/demo/", f"{setup.caching}/alice/closed/+simple/hush/"
    file = file_url(setup, setup.caching, "alice/dev", "demo")
    closed_file = file_url(setup, setup.caching, "alice/closed", "hush")
    docs, closed_docs = f"{setup.caching}/alice/dev/demo/1.0/+doc/", f"{setup.caching}/alice/closed/hush/1.0/+doc/"
    assert b"How to" in ask(f"{docs}index.html").body
    Pip("pip").install(tmp_path / "before", f"{setup.caching}/alice/dev/+simple/", "demo")
    for one in (closed, closed_file, f"{closed_docs}index.html"):
        assert ask(one, Authorization=ALICE).status == 200
        assert ask(one).status == 401
    before = setup.asked()
    assert {ask(page, Accept=JSON_PAGE).status for _ in range(20)} == {200}
    assert len([line for line in setup.asked_meanwhile(before) if "+simple/demo" in line]) < 20, "not once for each"
    # What is uploaded is on the page a moment later.
    assert upload(setup.direct, "alice/dev", wheel_name("demo", "1.1"), make_wheel("demo", "1.1")).status == 200
    wait_until(lambda: len(ask(page, Accept=JSON_PAGE).json()["files"]) == 2)
    setup.stop()
    try:
        assert len(ask(page, Accept=JSON_PAGE).json()["files"]) == 2
        assert ask(file).body.count(PAYLOAD) == 1
        assert b"How to" in ask(f"{docs}index.html").body
        Pip("pip").install(tmp_path / "meanwhile", f"{setup.caching}/alice/dev/+simple/", "demo==1.0")
        for one in (closed, closed_file, f"{closed_docs}index.html"):
            assert ask(one, Authorization=ALICE).status == 502
            refused = ask(one)
            assert refused.status in (401, 502)
            assert PAYLOAD not in refused.body
        assert ask(f"{setup.plain}/alice/dev/+simple/demo/").status == 502
    finally:
        setup.start()


def test_the_doctor_has_nothing_to_say_against_it(setup: Setup) -> None:
    command = [sys.executable, "-c", "from twistpi.cli.main import main; main()", "doctor"]
    words = ["--config", str(setup.generated / "twistpi.toml"), setup.plain]
    done = subprocess.run([*command, *words], env=environment(), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = {line.split()[1]: line for line in done.stdout.splitlines() if line and not line.startswith("ok ")}
    assert set(said) <= {"root", "things", "descriptors", "disk"}, done.stdout


# What was written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx-twistpi.conf", "nginx-twistpi-caching.conf"])
@pytest.mark.parametrize("fields", [{}, {"host": "::1"}, {"host": "0.0.0.0", "prefix": "/a/b.c"}, {"hostname": "[::1]"}])
@pytest.mark.parametrize("secure", [False, True])
def test_nginx_takes_what_was_written(tmp_path: Path, name: str, fields: dict[str, str], *, secure: bool) -> None:
    text = server_block(render(deployment(tmp_path, python=sys.executable, **fields))[name], "twistpi", free_port(), tmp_path)
    if secure:
        text = with_tls(text, free_port(), *write_certificate(tmp_path))
    nginx = Nginx(tmp_path)
    nginx.configure([text])
    assert nginx.check() == ""


@pytest.mark.parametrize("name", ["nginx-twistpi.conf", "nginx-twistpi-caching.conf"])
def test_nginx_takes_the_files_of_two_servers(tmp_path: Path, name: str) -> None:
    texts = [render(deployment(tmp_path, python=sys.executable, port=port))[name] for port in (4040, 4041)]
    nginx = Nginx(tmp_path)
    nginx.configure([server_block(text, "twistpi", free_port(), tmp_path) for text in texts])
    assert nginx.check() == ""
