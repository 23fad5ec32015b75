"""The command, beside a server that runs, and after it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest

from tests.backup.backed_up import content_of, upload
from tests.cli.commands import run
from tests.fakes.live_server import LiveServer, eventually, server_environment
from tests.fakes.postgres import postgres
from tests.fakes.s3_server import S3Server
from tests.move.moving import whole_log


@pytest.fixture
def servers(filled: Path, tmp_path: Path, s3_server: S3Server) -> Iterator[tuple[LiveServer, LiveServer]]:
    """A server, and a node of the cluster that it becomes."""
    server, node = LiveServer(filled, tmp_path / "log"), LiveServer(tmp_path / "cache", tmp_path / "node-log")
    node.place_option = "--cache-dir"
    yield server, node
    server.end(signal.SIGKILL)
    node.end(signal.SIGKILL)


def test_a_server_becomes_a_cluster_in_two_runs(
    filled: Path, tmp_path: Path, s3_server: S3Server, servers: tuple[LiveServer, LiveServer]
) -> None:
    url, bucket = postgres().new_schema(), f"s3://{s3_server.new_bucket()}/twistpi"
    environment = {**server_environment(), **s3_server.environment, "TWISTPI_S3_ENDPOINT": s3_server.url}
    server, node = servers

    def move(path: Path, way: str) -> tuple[int, Any]:
        command = [str(Path(sys.executable).with_name("twistpi")), "move", "--serverdir", str(path), "--json"]
        places = [f"--{way}-changelog", url, f"--{way}-blobs", bucket]
        done = subprocess.run([*command, *places], capture_output=True, text=True, env=environment, check=False)
        return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr

    server.start("--offline")
    status, copied = move(filled, "to")
    assert (status, copied["is_complete"], copied["files"]) == (0, False, 5)
    server.end()
    upload(filled, "demo-2.0.zip")
    status, moved = move(filled, "to")
    assert (status, moved["is_complete"], moved["files"], moved["entries"]) == (0, True, 1, 1)
    assert "its log was moved to the database" in run(filled, "gc").output
    node.start("--changelog", url, "--blobs", bucket, "--offline", environment=environment)
    page = f"{node.url}/carol/dev/+simple/demo/"
    with urlopen(page) as answer:
        links = answer.read().decode().split('"')
    with urlopen(urljoin(page, next(link for link in links if "demo-2.0.zip#" in link))) as file:
        assert file.read() == content_of("demo-2.0.zip")

    back = tmp_path / "back"
    eventually(lambda: os.path.exists(tmp_path / "cache" / "node.json"))
    status, copied = move(back, "from")
    node_id = json.loads((tmp_path / "cache" / "node.json").read_text())["node_id"]
    assert (status, copied["is_complete"], copied["nodes"]) == (0, False, [node_id])
    node.end()
    assert move(back, "from")[1]["is_complete"]
    assert whole_log(back).startswith(whole_log(filled))
    # The directory that the log came from has an old copy.
    status, told = move(filled, "to")
    assert (status, f"and from there to {back}" in told) == (1, True)
