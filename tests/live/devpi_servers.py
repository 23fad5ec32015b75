"""Real devpi-servers of two versions: filled over HTTP, exported, imported into, and compared with."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.fakes.live_server import PATIENCE, eventually
from tests.fakes.ports import free_port
from tests.live.installers import clean_environment, kept_program, run

OLD, NEW = "6.20.3", "7.0.0b4"
ROOT_PASSWORD, ANN_PASSWORD = "of-root", "of-ann"
_CHEAP = ("--argon2-memory-cost", "64", "--argon2-parallelism", "1", "--argon2-time-cost", "1")
"""By default a server takes half a minute of a busy machine to derive its keys."""
DOCS = b"PK\x05\x06" + bytes(18)
"""An empty ZIP archive."""
MIRRORED = sdist_of("upward", "2.0")
BROKEN = Distribution("oldie", "0.1", "oldie-0.1.zip", b"no archive at all, but devpi-server took it")


@attrs.define(eq=False)
class Client:
    """Sends requests to a server, as somebody."""

    url: str
    user: str = ""
    password: str = attrs.field(default="", repr=False)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Return status and body."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.user:
            sent["X-Devpi-Auth"] = base64.b64encode(f"{self.user}:{self.token()}".encode()).decode()
        address = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(address, body, sent, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path: str, method: str = "GET", body: object = None) -> Any:
        """Return the JSON that answers a request; ``AssertionError`` for a refusal."""
        content = None if body is None else json.dumps(body).encode()
        status, answer = self.ask(method, path, content, Accept="application/json", Content_Type="application/json")
        assert status < 300, (method, path, status, answer)
        return json.loads(answer) if answer else None

    def token(self) -> str:
        """Log in once; return the token."""
        if not self.password.startswith("token:"):
            login = Client(self.url).json("/+login", "POST", {"user": self.user, "password": self.password})
            self.password = f"token:{login['result']['password']}"
        return self.password.removeprefix("token:")

    def upload(self, index: str, fields: Mapping[str, str], filename: str = "", content: bytes = b"") -> None:
        """Send a form."""
        parts = [f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
        body = "".join(parts).encode()
        if filename:
            head = f'--B\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
            body += head.encode() + content + b"\r\n"
        status, answer = self.ask("POST", f"/{index}/", body + b"--B--\r\n", Content_Type="multipart/form-data; boundary=B")
        assert status == 200, (filename, status, answer)


@attrs.define(eq=False)
class DevpiServer:
    """A devpi-server over a directory."""

    version: str
    folder: Path

    def _command(self, name: str, *words: str) -> list[str]:
        python = kept_program(f"devpi-server=={self.version}")
        # Its first line names the folder in which the environment was made.
        return [str(python), str(python.with_name(name)), "--serverdir", str(self.folder / "server"), *words]

    def make(self) -> None:
        """Make the directory."""
        run(self._command("devpi-init", "--no-root-pypi", "--root-passwd", ROOT_PASSWORD), self.folder / "home")

    def export(self, target: Path, *words: str) -> None:
        """Export everything."""
        run(self._command("devpi-export", *words, str(target)), self.folder / "home")

    def import_from(self, source: Path) -> str:
        """Import into a directory that is not there yet."""
        return run(self._command("devpi-import", "--no-events", "--no-root-pypi", str(source)), self.folder / "home")

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run it; its address."""
        port = free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                self._command("devpi-server", "--port", str(port), "--threads", "4", *_CHEAP),
                stdout=log, stderr=log, env=clean_environment(self.folder / "home"), cwd=self.folder,
            )  # fmt: skip
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, (self.folder / "log").read_text()
            try:
                return Client(url).ask("GET", "/+api")[0] == 200
            except OSError:
                return False

        try:
            eventually(answers)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


@contextmanager
def upstream_folder(folder: Path) -> Iterator[str]:
    """Serve a simple index with one project; the address of its pages."""
    page = folder / "simple" / MIRRORED.project
    page.mkdir(parents=True)
    address = f"../../{MIRRORED.filename}#sha256={MIRRORED.sha256}"
    link = f'<a href="{address}" data-requires-python="&gt;=3.6">{MIRRORED.filename}</a>'
    names = f'<!DOCTYPE html><html><body><a href="{MIRRORED.project}/">{MIRRORED.project}</a></body></html>'
    (page.parent / "index.html").write_text(names)
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    (folder / MIRRORED.filename).write_bytes(MIRRORED.content)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple/"
    finally:
        server.shutdown()
        server.server_close()


def fill(url: str, version: str, upstream: str) -> None:
    """Make users, indexes of both kinds, releases, documentation and test results."""
    root = Client(url, "root", ROOT_PASSWORD)
    root.json("/ann", "PUT", {"password": ANN_PASSWORD, "email": "ann@pkgs.example", "title": "Ann É"})
    ann = Client(url, "ann", ANN_PASSWORD)
    ann.json("/ann", "PATCH", {"description": "of all trades"})
    is_old = version == OLD
    mirror = (
        {"mirror_url": upstream, "mirror_cache_expiry": 77} if is_old else {"remote_url": upstream, "remote_refresh_delay": 77}
    )
    ann.json("/ann/up", "PUT", {"type": "mirror" if is_old else "remote", "volatile": False, **mirror})
    local = {"type": "stage" if is_old else "local"}
    rules: dict[str, Any] = {"mirror_whitelist": ["*"]} if is_old else {"project_inheritance_rules": ["allow all"]}
    ann.json("/ann/dev", "PUT", {**local, "bases": ["ann/up"], "title": "work", "custom_data": {"a": [1]}, **rules})
    ann.json("/ann/prod", "PUT", {**local, "bases": ["ann/dev"], "volatile": False, "acl_upload": ["ann", ":ANONYMOUS:"]})
    for project, number in (("hello", "1.0"), ("Other.Pkg", "1!2.0+loc.1")):
        for file in (sdist_of(project, number), wheel_of(project, number)):
            fields = {":action": "file_upload", "name": project, "version": number, "requires_python": ">=3.5", "summary": "é"}
            ann.upload("ann/dev", fields, file.filename, file.content)
    ann.upload("ann/dev", {":action": "submit", "name": "hello", "version": "0.9", "license": "none"})
    ann.upload("ann/dev", {":action": "file_upload", "name": "oldie", "version": "0.1"}, BROKEN.filename, BROKEN.content)
    ann.upload("ann/dev", {":action": "doc_upload", "name": "hello", "version": "1.0"}, "hello.zip", DOCS)
    again = sdist_of("hello", "1.0", b"again")
    ann.upload("ann/dev", {":action": "file_upload", "name": "hello", "version": "1.0"}, again.filename, again.content)
    links = ann.json("/ann/dev/hello/1.0")["result"]["+links"]
    wheel = next(link["href"] for link in links if link["href"].endswith(".whl"))
    result = json.dumps({"testenvs": {"py": {"test": []}}, "platform": "linux", "host": "h", "toxversion": "4"}).encode()
    status, answer = ann.ask("POST", wheel, result, Accept="application/json")
    assert status == 200, answer
    pushed = {"name": "hello", "version": "1.0", "targetindex": "ann/prod"}
    ann.json("/ann/dev", "PUSH", pushed)
    status, page = Client(url).ask("GET", "/ann/up/+simple/upward/")
    found = re.search(r'href="(?:\.\./)+(\+f/[^"#]+)', page.decode())
    assert found, page
    assert Client(url).ask("GET", f"/ann/up/{found[1]}")[1] == MIRRORED.content


INDEXES = ("ann/dev", "ann/prod", "ann/up")
_LINK = re.compile(r'<a href="([^"]+)"([^>]*)>([^<]+)</a>')


def state(url: str, query: str = "") -> dict[str, Any]:
    """Return everything that a server says of itself, and the digests of all files, in one form for both versions and twistpi.

    ``query`` asks twistpi for the settings of an index in the words of 7.
    """
    facts: dict[str, Any] = {"users": {}, "files": {}}
    for name, user in Client(url).json("/")["result"].items():  # before a login, at which twistpi replaces the hash
        hidden = {"indexes", *(("created", "modified") if name == "root" else ())}
        facts["users"][name] = {key: value for key, value in user.items() if key not in hidden}
    client = Client(url, "ann", ANN_PASSWORD)
    for index in INDEXES:
        config = client.json(f"/{index}{query}")["result"]
        projects = sorted(config.pop("projects", client.json(f"/{index}")["result"]["projects"]))
        facts[index] = {**config, "projects": projects}
        for project in projects:
            page = client.ask("GET", f"/{index}/+simple/{project}/", Accept="text/html")[1].decode()
            shown = [(href.rpartition("/+f/")[2], more, text) for href, more, text in _LINK.findall(page)]
            facts[f"{index} {project} page"] = sorted((path, 'python="&' in more, text) for path, more, text in shown)
            for version, data in client.json(f"/{index}/{project}?ignore_bases=1")["result"].items():
                facts[f"{index} {project} {version}"] = _release(client, data, facts["files"])
    return facts


def _release(client: Client, data: Mapping[str, Any], files: dict[str, str]) -> dict[str, Any]:
    metadata = {key: value for key, value in data.items() if value and key not in ("+links", "+shadowing", "import_names")}
    links = []
    for link in data.get("+links", ()):
        path = link["href"].split("/", 3)[3]
        status, content = client.ask("GET", link["href"])
        assert status == 200, (link, status)
        files[path] = hashlib.sha256(content).hexdigest()
        about = link.get("for_href", "").rpartition("/+f/")[2]
        log = [{**line, "when": _when(line["when"]), "dst": line.get("dst", "")} for line in link.get("log", ())]
        log = [{**line, "dst": ""} if line["what"] == "overwrite" else line for line in log]
        links.append((link["rel"], path, about, json.dumps(log, sort_keys=True)))
    return {**metadata, "+links": sorted(links)}


def _when(value: Any) -> str:
    return value if isinstance(value, str) else "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*value)
