"""Private indexes of a real server, and what may be asked of them."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import attrs

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.live.installers import kept, public_pip
from tests.live.test_live_commands import CHEAP, ask

JSON = "application/vnd.pypi.simple.v1+json"
PASSWORD = "verysecurepassword"
BACKENDS = ("setuptools", "hatchling", "flit_core", "poetry-core", "pdm-backend")


@attrs.frozen
class Stage:
    """An index that its user may upload to."""

    server: LiveServer
    name: str
    """``user/index``."""
    login: str
    """Who uploads, ``__token__`` for the holder of a token."""
    password: str = PASSWORD

    @property
    def user(self) -> str:
        """Whose index it is."""
        return self.name.partition("/")[0]

    @property
    def url(self) -> str:
        """Where releases go."""
        return f"{self.server.url}/{self.name}/"

    @property
    def simple(self) -> str:
        """Where installers look."""
        return f"{self.url}+simple/"

    def beside(self, index: str, **config: Any) -> Stage:
        """Another index of the same user, made now.  Blocking."""
        return make_stage(self.server, f"{self.user}/{index}", **config)

    def page(self, project: str) -> Any:
        """The project's page.  Blocking; raises ``HTTPError``."""
        return json.loads(fetch(f"{self.simple}{project}/", JSON))

    def digests(self, project: str) -> dict[str, str]:
        """SHA-256 by file name, as the project's page has them; nothing when there is no such project.  Blocking."""
        try:
            found = self.page(project)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise
        return {file["filename"]: file["hashes"]["sha256"] for file in found["files"]}

    def version(self, project: str, version: str) -> Any:
        """The data of a release.  Blocking."""
        status, found = ask(self.server, "GET", f"/{self.name}/{project}/{version}", None, f"{self.user}:{PASSWORD}")
        assert status == 200, found
        return found["result"]

    def serial(self) -> int:
        """How many entries the server has.  Blocking."""
        status, found = ask(self.server, "GET", "/+status")
        assert status == 200, found
        serial: int = found["result"]["serial"]
        return serial


def make_stage(server: LiveServer, name: str, **config: Any) -> Stage:
    """An index that inherits from the mirror, and its user if need be.  Blocking."""
    user = name.partition("/")[0]
    ask(server, "PUT", f"/{user}", {"password": PASSWORD})
    status, told = ask(server, "PUT", f"/{name}", {"bases": "root/pypi", **config}, f"{user}:{PASSWORD}")
    assert status == 200, told
    return Stage(server, name, user)


def start_with_stage(server: LiveServer, upstream: FakeUpstream, *options: str) -> Stage:
    """Start ``server``; its index ``jonathan/dev``, which is volatile.  Blocking."""
    server.start("--upstream", upstream.index_url, *options, environment=CHEAP)
    return make_stage(server, "jonathan/dev")


def fill(upstream: FakeUpstream) -> None:
    """What projects need: ``hello``, and what builds them."""
    upstream.add_project("hello", {wheel_name("hello", "1.0"): make_wheel("hello", "1.0")})
    for wheel in build_backends().iterdir():
        project = wheel.name.partition("-")[0].replace("_", "-")
        upstream.add_project(project, {wheel.name: wheel.read_bytes()})


def build_backends() -> Path:
    """A folder with the wheels of ``BACKENDS`` and of all they need; filled at first use.  Blocking."""

    def fill(folder: Path) -> None:
        public_pip("download", "--only-binary", ":all:", "--dest", str(folder), *BACKENDS)

    return kept("build-backends", fill)


def fetch(url: str, accept: str = "*/*", user: str = "", password: str = PASSWORD) -> bytes:
    """What is there.  Blocking; raises ``HTTPError``."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    if user:
        request.add_header("Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files in ``folder``.  Blocking."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.name[0] != "."}
