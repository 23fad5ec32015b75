"""Two real servers that are nodes of a cluster with a bucket: what one has, the other one has, and no disk has to survive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.advisories.advisory_feed import record
from tests.etc.talking import Answer, ask, basic, upload_form
from tests.fakes.distributions import Distribution, wheel_of
from tests.fakes.live_server import LiveServer, eventually, server_environment
from tests.fakes.postgres import postgres
from tests.fakes.s3_server import S3Server

UV = 'uv/0.9.1 {"installer":{"name":"uv"}}'
PIP = "pip/26.3 {}"
MADE = wheel_of("demo", "1.0", os.urandom(300_000))
MIRRORED = wheel_of("mirrored", "2.0", os.urandom(300_000))
ALICE = basic("alice", "sesame12")


@pytest.fixture
def upstream() -> Iterator[tuple[str, Counter[str]]]:
    """The address of an index with one file, and what it was asked for."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] += 1
            page = f'<a href="/f/{MIRRORED.filename}#sha256={MIRRORED.sha256}">{MIRRORED.filename}</a>'.encode()
            is_file = self.path == f"/f/{MIRRORED.filename}"
            body = MIRRORED.content if is_file else page
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if is_file else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple/", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(s3_server: S3Server, tmp_path: Path) -> dict[str, str]:
    """The settings of a new cluster, with files in a new bucket and a feed of advisories."""
    (tmp_path / "feed.json").write_text(json.dumps(record("MAL-2026-1")))
    settings = {
        "TWISTPI_ADVISORIES": str(tmp_path / "feed.json"),
        "TWISTPI_CHANGELOG": postgres().new_schema(),
        "TWISTPI_BLOBS": f"s3://{s3_server.new_bucket()}/twistpi",
        "TWISTPI_S3_ENDPOINT": s3_server.url,
    }
    return {**settings, **s3_server.environment}


@pytest.fixture
def nodes(tmp_path: Path, environment: dict[str, str]) -> Iterator[list[LiveServer]]:
    """Two nodes of the cluster."""
    started = []
    for number in range(2):
        node = LiveServer(tmp_path / f"cache{number}", tmp_path / f"log{number}")
        node.place_option = "--cache-dir"
        node.spawn("--no-root-pypi", "--bcrypt-cost", "4", "--root-passwd", "sesame", environment=environment)
        started.append(node)
    for node in started:
        node.wait_until_it_answers()
    yield started
    for node in started:
        node.end(signal.SIGKILL)


def change(node: LiveServer, method: str, path: str, content: object, authorization: str) -> Answer:
    return ask(
        f"{node.url}/{path}",
        method,
        json.dumps(content).encode(),
        trust=None,
        Content_Type="application/json",
        Authorization=authorization,
    )


def download(node: LiveServer, index: str, file: Distribution, serial: str, agent: str = PIP, **headers: str) -> Answer:
    return ask(f"{node.url}/{index}/{file.path}", "GET", None, trust=None, User_Agent=agent, X_Devpi_Serial=serial, **headers)


def check_advisories(nodes: list[LiveServer]) -> None:
    """One node read the feed, and both have what is in it."""

    def known(node: LiveServer) -> dict[str, object]:
        return dict(json.loads(ask(f"{node.url}/+status", "GET", None).body)["result"]["advisories"] or {})

    eventually(lambda: [known(node).get("count") for node in nodes] == [1, 1])
    assert known(nodes[0]) == known(nodes[1])


def _command(environment: Mapping[str, str], *words: str) -> dict[str, Any]:
    """What a command answers in JSON."""
    program = str(Path(sys.executable).with_name("twistpi"))
    done = subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nodes_share_files_and_lose_nothing_with_their_disks(
    nodes: list[LiveServer], environment: dict[str, str], upstream: tuple[str, Counter[str]]
) -> None:
    one, two = nodes
    url, asked = upstream
    check_advisories(nodes)
    assert ask(f"{one.url}/alice", "PUT", b'{"password": "sesame12"}', Content_Type="application/json").status == 201
    assert change(one, "PUT", "alice/dev", {"type": "stage"}, ALICE).status == 200
    body, kind = upload_form(MADE.filename, MADE.content)
    uploaded = ask(f"{one.url}/alice/dev/", "POST", body, Content_Type=kind, Authorization=ALICE)
    assert uploaded.status == 200, uploaded
    serial = uploaded.headers["x-devpi-serial"]

    # Each knows of both, and all is well.
    def known() -> set[str]:
        return set(json.loads(ask(f"{two.url}/+status", "GET", None).body)["result"]["cluster"]["nodes"])

    assert eventually(lambda: len(known()) == 2)
    ready = json.loads(ask(f"{two.url}/+ready", "GET", None).body)
    assert {"database", "cluster", "bucket"} <= {check["name"] for check in ready["checks"] if check["result"] == "fine"}

    # What was uploaded to one node, the other one sends; uv is sent to the bucket.
    assert download(two, "alice/dev", MADE, serial).body == MADE.content
    redirect = download(two, "alice/dev", MADE, serial, UV)
    assert (redirect.status, redirect.headers["cache-control"]) == (302, "public, max-age=60")
    assert urlopen(redirect.headers["location"]).read() == MADE.content
    closed = change(one, "PATCH", "alice/dev", ["acl_read=alice"], ALICE)
    assert closed.status == 200
    serial = closed.headers["x-devpi-serial"]
    private = download(two, "alice/dev", MADE, serial, UV, Authorization=ALICE)
    assert (private.status, private.headers["cache-control"]) == (302, "private, no-store")
    assert "X-Amz-Expires=60&" in private.headers["location"]
    assert download(two, "alice/dev", MADE, serial, UV).status in (401, 403)

    # A cold file of a mirror is fetched once for all.
    made = change(one, "PUT", "alice/up", {"type": "mirror", "mirror_url": url}, ALICE)
    assert made.status == 200, made
    serial = made.headers["x-devpi-serial"]
    with ThreadPoolExecutor(6) as clients:
        found = list(clients.map(lambda node: download(node, "alice/up", MIRRORED, serial), [one, two] * 3))
    assert [sha256(answer.body).hexdigest() for answer in found] == [MIRRORED.sha256] * 6
    assert asked[f"/f/{MIRRORED.filename}"] == 1

    # The cache of a node is lost, while it runs; then the node.
    for file in (MADE, MIRRORED):
        here = one.serverdir / "+files" / file.path.removeprefix("+f/")
        eventually(here.exists)
        here.unlink()
    for index, file in (("alice/dev", MADE), ("alice/up", MIRRORED)):
        assert download(one, index, file, serial, Authorization=ALICE).body == file.content
    one.end(signal.SIGKILL)
    for index, file in (("alice/dev", MADE), ("alice/up", MIRRORED)):
        assert download(two, index, file, serial, Authorization=ALICE).body == file.content
    assert asked[f"/f/{MIRRORED.filename}"] == 1

    # Commands that find no server ask the bucket by themselves.
    two.end()
    shutil.rmtree(two.serverdir / "+files")
    given = {**server_environment(), **environment, "TWISTPI_CACHE_DIR": str(two.serverdir)}
    # Both files, the core metadata of one, and the advisories: what is in the bucket, not what a node has of it.
    assert _command(given, "gc", "--json", "--dry-run")["examined"] == 4
    exported = two.serverdir.with_name("export")
    assert _command(given, "export", "--json", "--hard-links", str(exported))["counts"]["files"]["taken"] == 1
    assert [path.read_bytes() for path in exported.rglob(MADE.filename)] == [MADE.content]
    assert "Traceback" not in one.told() + two.told()
