"""HTTP requests sent as they are: no redirect is followed, nothing is decoded or remembered."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

PATIENCE = 180.0
"""Seconds after which something that is waited for will not come."""


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    url: str, method: str = "GET", body: bytes | None = None, *, trust: ssl.SSLContext | None = None, **headers: str
) -> Answer:
    """Ask over a connection of its own; names of headers have underscores.  ``OSError`` when nobody is there."""
    parts = urlsplit(url)
    assert parts.hostname
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=PATIENCE, context=trust)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, url.partition(parts.netloc)[2], body, given)
        response = connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, told, response.read())
    finally:
        connection.close()


def basic(user: str, password: str) -> str:
    """The value of ``Authorization``."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def upload_form(filename: str, content: bytes) -> tuple[bytes, str]:
    """The body of an upload of a wheel, or of documentation (``NAME-VERSION.doc.zip``), and its type."""
    name, version = filename.removesuffix(".doc.zip").split("-")[:2]
    fields = {":action": "file_upload", "name": name, "version": version, "filetype": "bdist_wheel", "pyversion": "py3"}
    if filename.endswith(".doc.zip"):
        fields = {":action": "doc_upload", "name": name, "version": version}
    boundary = "a-boundary-that-no-wheel-holds"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n')
    return b"".join(["".join(parts).encode(), content, f"\r\n--{boundary}--\r\n".encode()]), (
        f"multipart/form-data; boundary={boundary}"
    )


def wait_until(what: Callable[[], object], told: Callable[[], str] = lambda: "") -> None:
    """Return when ``what`` is true, without an ``OSError``; fail with what was ``told`` when that does not come."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if what():
                return
        except OSError:
            pass
        assert time.monotonic() < until, told()
        time.sleep(0.02)
