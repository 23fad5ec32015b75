"""A server behind TLS: what pip keeps of its pages never hides what is new."""

from __future__ import annotations

import os
import ssl
import subprocess
import urllib.request
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.fakes.certificates import write_certificate
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip

PAYLOAD = os.urandom(500_000)


def _list(upstream: FakeUpstream, *versions: str) -> None:
    upstream.add_project("lib", {wheel_name("lib", version): make_wheel("lib", version, [], PAYLOAD) for version in versions})


def _options(folder: Path) -> tuple[str, Path]:
    """The endpoint of a server behind TLS, and the certificate its clients have to trust."""
    key, certificate = write_certificate(folder)
    return f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}", certificate


def _version(python: Path) -> str:
    command = [str(python), "-c", "import lib; print(lib.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@in_reactor
async def test_R54_a_warm_cache_of_pip_hides_no_new_file(tmp_path: Path, server: LiveServer, upstream: FakeUpstream) -> None:
    _list(upstream, "1.0")
    endpoint, certificate = _options(tmp_path)
    await deferToThread(server.start, "--upstream", upstream.index_url, "--listen", endpoint)
    assert server.url.startswith("https://")
    pip, folder = Pip("pip"), tmp_path / "client"
    python = await deferToThread(pip.upgrade, folder, server.simple, certificate, "lib==1.0")
    assert _version(python) == "1.0"
    assert any(path.is_file() for path in (folder / "cache").rglob("*")), "pip keeps what comes over TLS"
    _list(upstream, "1.0", "2.0")
    trusting = ssl.create_default_context(cafile=str(certificate))
    refresh = urllib.request.Request(f"{server.simple}lib/refresh", method="POST")
    with await deferToThread(urllib.request.urlopen, refresh, timeout=60, context=trusting) as page:
        assert page.status == 200
    await deferToThread(pip.upgrade, folder, server.simple, certificate, "lib==2.0")
    assert _version(python) == "2.0"


@in_reactor
async def test_large_files_come_whole_over_tls(tmp_path: Path, server: LiveServer, upstream: FakeUpstream) -> None:
    files = {None: "lib-1.0.tar.gz", "bytes=100000-399999": "lib-2.0.tar.gz"}
    contents = {name: os.urandom(500_000) for name in files.values()}
    upstream.add_project("lib", contents)
    endpoint, certificate = _options(tmp_path)
    await deferToThread(server.start, "--upstream", upstream.index_url, "--listen", endpoint)
    trusting = ssl.create_default_context(cafile=str(certificate))

    def get(url: str, **headers: str) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60, context=trusting) as answer:
            body: bytes = answer.read()
            return body

    page = (await deferToThread(get, f"{server.simple}lib/")).decode()
    for part, name in files.items():
        path = next(link.partition("#")[0] for link in page.split('href="../../') if name in link)
        expected = contents[name] if part is None else contents[name][100_000:400_000]
        for _ in range(3):  # cold, by the slow way, by the fast one
            body = await deferToThread(get, f"{server.url}/root/pypi/{path}", **({"Range": part} if part else {}))
            assert body == expected
