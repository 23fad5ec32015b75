"""What holds for every test: none depends on how fast or how busy the machine is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.s3_server import S3Server, start_s3_server

# The tests start several hundred programs: without compiled modules each would spend a second more to compile twistpi.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Hypothesis would give an example 200 ms, and complain of inputs that are slow to make.
settings.register_profile(
    "patient", settings.default, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("patient"), max_examples=500)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let live tests run over another form of the server, by hand: ``pytest --cluster tests/live tests/docs``."""
    text = "start the servers of live tests as nodes of a cluster; those that are about a server directory then fail"
    parser.addoption("--cluster", action="store_true", help=text)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server, one for all tests of a process that want one."""
    server = start_s3_server()
    yield server
    server.stop()
