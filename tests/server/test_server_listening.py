"""Endpoints: many connections at once, and certificates that are read again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.fakes.certificates import write_certificate
from twistpi.model.errors import TwistpiError
from twistpi.server.listening import BACKLOG, endpoint_strings, make_endpoint
from twistpi.server.process import connections_for
from twistpi.server.settings import Settings

reactor: Any = MemoryReactorClock()


@pytest.mark.parametrize(
    ("text", "backlog"),
    [("tcp:0:interface=127.0.0.1", BACKLOG), ("tcp:0:backlog=7", 7), ("unix:/nowhere/x.sock", BACKLOG)],
)
def test_many_may_wait_unless_somebody_says_otherwise(text: str, backlog: int) -> None:
    reactor: Any = MemoryReactorClock()
    make_endpoint(reactor, text).listen(Factory())
    ((_where, _factory, found, *_),) = reactor.tcpServers + reactor.unixServers
    assert found == backlog


def test_the_address_may_be_of_either_kind() -> None:
    assert endpoint_strings(Settings(host="::1", port=4040)) == ("tcp:4040:interface=\\:\\:1",)


@pytest.mark.parametrize("endpoint", ["pigeon:3141", "carrier-pigeon:3141", "tcp:http", "ssl:0:privateKey=/nowhere.pem"])
def test_an_endpoint_that_cannot_be_is_refused_as_it_was_written(endpoint: str) -> None:
    with pytest.raises(TwistpiError, match=rf"The setting listen is '{endpoint}'") as refusal:
        make_endpoint(reactor, endpoint)
    assert "backlog" not in str(refusal.value)


def test_a_socket_that_systemd_did_not_hand_over_is_told() -> None:
    with pytest.raises(
        TwistpiError, match="systemd passed no such socket to the server; start the server through its socket unit"
    ):
        make_endpoint(reactor, "systemd:domain=INET:index=0")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    key, _ = write_certificate(tmp_path)
    _, other = write_certificate(tmp_path / "other")
    with pytest.raises(TwistpiError):
        make_endpoint(reactor, f"ssl:0:privateKey={key}:certKey={other}")


def test_a_new_certificate_counts_and_a_bad_one_leaves_the_former(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    key, certificate = write_certificate(tmp_path)
    endpoint = make_endpoint(reactor, f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}")
    kept = endpoint.certificate
    assert kept is not None
    first = kept.getContext()
    told: list[str] = []

    @implementer(ILogObserver)
    def hear(event: LogEvent) -> None:
        if event.get("log_namespace") == "twistpi.server.listening":
            told.append(f"{event['log_level'].name} {event['log_format'].format(**event)}")

    globalLogPublisher.addObserver(hear)
    try:
        for path in write_certificate(tmp_path / "new"):
            shutil.copy(path, tmp_path / path.name)
        kept.reload()
        second = kept.getContext()
        assert second is not first
        certificate.write_text("nonsense")
        kept.reload()
        certificate.unlink()
        kept.reload()
    finally:
        globalLogPublisher.removeObserver(hear)
    assert kept.getContext() is second
    assert [line.split()[0] for line in told] == ["info", "error", "error"]
    assert all("backlog" not in line for line in told)


@pytest.mark.parametrize(("descriptors", "connections"), [(20, 16), (1024, 416), (4096, 1952), (65_536, 10_000)])
def test_connections_leave_descriptors_for_everything_else(descriptors: int, connections: int) -> None:
    assert connections_for(descriptors) == connections
