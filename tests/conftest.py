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
    """Let tests run over another form of the server: ``pytest --cluster tests/web``."""
    text = "build servers on what a node of a cluster has; tests that are about a server directory are left out"
    parser.addoption("--cluster", action="store_true", help=text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--cluster``, leave out the tests whose mark ``directory`` says what of a directory they are about."""
    if config.getoption("--cluster"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("directory")])
        items[:] = [item for item in items if not item.get_closest_marker("directory")]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server, one for all tests of a process that want one."""
    server = start_s3_server()
    yield server
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def worlds(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the servers of tests of HTTP are built on: with ``--cluster`` what a node of a cluster has."""
    if not request.config.getoption("--cluster"):
        yield
        return
    from tests.fakes.node_storage import NodeMaker  # noqa: PLC0415 a reactor may be chosen first
    from tests.mirror import mirror_setup, mirror_storage  # noqa: PLC0415
    from tests.push import pushed_release  # noqa: PLC0415
    from tests.web import web_world, world_storage  # noqa: PLC0415

    maker = NodeMaker(request.getfixturevalue("s3_server"))
    web_world.World.make_storage = lambda folder: world_storage.NodeStorage(folder, maker)
    pushed_release.Source.make_storage = web_world.World.make_storage
    mirror_setup.Setup.make_storage = lambda folder: mirror_storage.NodeStorage(folder, maker)
    yield
    maker.close()
