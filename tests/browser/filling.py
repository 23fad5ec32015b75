"""Puts the company's packages onto a server, as its people would have done."""

from __future__ import annotations

import hashlib
import http.client
import json
from base64 import b64encode
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs

from tests.browser.company import INDEXES, OWN, PASSWORD, TIDEPOOL, USERS, Package, documentation, tox_report
from tests.web.receiving.form_samples import encode, text


def _agent(installer: str, version: str, python: str) -> str:
    """How pip and uv introduce themselves."""
    told = {
        "installer": {"name": installer, "version": version},
        "python": python,
        "implementation": {"name": "CPython", "version": python},
    }
    return f"{installer}/{version} {json.dumps(told)}"


_PIP, _UV = _agent("pip", "26.2", "3.12.4"), _agent("uv", "0.9.2", "3.13.1")


@attrs.define(eq=False)
class Client:
    """Asks a server over one connection, in the name of a user.  Blocking."""

    connection: http.client.HTTPConnection
    credentials: str = ""

    def become(self, user: str, password: str = PASSWORD) -> None:
        """Send what follows in the name of ``user``."""
        self.credentials = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """The body of an answer that is a success."""
        if self.credentials:
            headers["Authorization"] = self.credentials
        self.connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.connection.getresponse()
        told = answer.read()
        assert answer.status < 400, (method, path, answer.status, told)
        return told

    def put(self, path: str, **values: Any) -> None:
        """Create a user or an index."""
        self.ask("PUT", path, json.dumps(values).encode())

    def submit(self, index: str, action: str, filename: str, content: bytes, **fields: str) -> None:
        """Upload a distribution, or documentation."""
        parts = [text(":action", action), *(text(name, value) for name, value in fields.items())]
        form = encode("boundary", [*parts, ("content", filename, "application/octet-stream", content)])
        self.ask("POST", f"/{index}/", form, Content_Type="multipart/form-data; boundary=boundary")

    def upload(self, index: str, package: Package) -> None:
        """Upload all files of a project."""
        for version in package.versions:
            for filename, content in package.files(version):
                self.submit(index, "file_upload", filename, content, name=package.name, version=version)


def fill(url: str) -> None:
    """Create users and indexes, upload and download.  Blocking."""
    address = urlsplit(url)
    client = Client(http.client.HTTPConnection(address.hostname or "", address.port, timeout=60))
    for user, config in USERS.items():
        client.put(f"/{user}", password=PASSWORD, **config)
    for index, config in INDEXES.items():
        client.become(index.partition("/")[0])
        client.put(f"/{index}", **config)
    client.become("root", "")
    client.ask("PATCH", "/root/pypi", json.dumps({"title": "Everything else"}).encode(), Content_Type="application/json")
    for index, packages in OWN.items():
        client.become(index.partition("/")[0])
        for package in packages:
            client.upload(index, package)
    client.become("harbour")
    _tell_more(client)
    client.credentials = ""
    _install(client)


def _tell_more(client: Client) -> None:
    """What people do with releases after their upload."""
    index, name = "harbour/stable", TIDEPOOL.name
    client.submit(index, "doc_upload", f"{name}-1.2.1.doc.zip", documentation(), name=name, version="1.2.1")
    reason = json.dumps({"reason": "Loses an hour of every year; take 1.2.0"}).encode()
    client.ask("PUT", f"/{index}/{name}/1.1.0/+yank", reason, Content_Type="application/json")
    path = _path(*next(TIDEPOOL.files("1.2.1")))
    for python, is_good in (("3.11", True), ("3.12", True), ("3.13", False)):
        client.ask("POST", f"/{index}/{path}", json.dumps(tox_report(python, is_good=is_good)).encode())


def _install(client: Client) -> None:
    """Download what somebody would who installs the company's packages."""
    client.ask("GET", "/root/pypi/+simple/", Accept="application/vnd.pypi.simple.v1+json")  # its names are searched from now on
    for number, agent in enumerate((_PIP, _PIP, _UV, _PIP, _UV)):
        for project in ("tidepool", "numpy", "attrs", "httpx")[: 4 - number // 2]:
            path = f"/harbour/stable/+simple/{project}/"
            page = json.loads(client.ask("GET", path, Accept="application/vnd.pypi.simple.v1+json"))
            url = [file["url"] for file in page["files"] if file["filename"].endswith(".whl")][-1]
            client.ask("GET", urljoin(path, url), User_Agent=agent)
    client.ask("GET", "/+downloads")  # what was counted is written before it is told, and is on all pages from now on


def _path(filename: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"+f/{digest[:3]}/{digest[3:16]}/{filename}"
