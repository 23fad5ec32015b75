"""Live servers with a directory, or with ``pytest --cluster`` each as a node of a cluster of its own."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.fakes.live_server import LiveServer
from tests.fakes.postgres import postgres
from tests.fakes.s3_server import S3Server

_BUCKET = "live"
"""One for all: the S3 server has room for fifty buckets."""
_NUMBERS = count(1)


def new_place() -> str:
    """The address of a new, empty place for files."""
    return f"s3://{_BUCKET}/files{next(_NUMBERS)}"


def cluster_node(cache: Path, log: Path, url: str, blobs: str, s3: S3Server) -> LiveServer:
    """A node with ``cache``, of the cluster whose database is at ``url`` and whose files are at ``blobs``."""
    variables = {"TWISTPI_CHANGELOG": url, "TWISTPI_BLOBS": blobs, "TWISTPI_S3_ENDPOINT": s3.url}
    return LiveServer(cache, log, place_option="--cache-dir", variables={**s3.environment, **variables})


def live_server(request: pytest.FixtureRequest, folder: Path, log: Path) -> LiveServer:
    """A server that is not started yet, with ``folder``."""
    if not request.config.getoption("--cluster"):
        return LiveServer(folder, log)
    s3: S3Server = request.getfixturevalue("s3_server")
    return cluster_node(folder, log, postgres().new_schema(), new_place(), s3)
