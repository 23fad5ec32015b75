"""A command that asks another server: signed, by that server's clock, and with words when it is not let in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import attrs
import pytest

from tests.cli.http_server import reply, serving
from twistpi.auth.tokens import NodeTokens
from twistpi.cli.clients import PeerClient
from twistpi.model.peers import Epoch, FenceNote, Peer
from twistpi.model.server_errors import NodeRefused, NotFenced, PrimaryUnreachable, StrangePrimary

SECRET = b"s" * 32
PEER = Peer("a" * 32, "1" * 32, "primary", 7, "7" * 64)
NOTE = FenceNote("b" * 32, "1" * 32, Epoch(2, "b" * 32))


@attrs.define
class Setup:
    """A server that answers what it was told to, by a clock of its own."""

    answers: dict[str, tuple[int, Any]]
    ahead: float = 0.0
    """Seconds by which its clock is ahead."""
    seen: list[tuple[str, bytes]] = attrs.field(factory=list)
    url: str = ""


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup({"/+peer": (200, PEER.to_json())})

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> None:
        now = time.time() + setup.ahead
        token = request.headers["Authorization"].removeprefix("Twistpi-Node ")
        try:
            NodeTokens(SECRET).read(token, request.command, request.path, now)
            setup.seen.append((request.path, body))
            status, content = setup.answers[request.path.removeprefix("/prefix")]
        except NodeRefused as refusal:
            status, content = 403, {"reason": refusal.reason}
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        reply(request, status, text, X_Twistpi_Time=repr(now))

    with serving(answer) as setup.url:
        yield setup


def _asked(setup: Setup, secret: bytes = SECRET, prefix: str = "") -> PeerClient:
    return PeerClient(setup.url + prefix, "c" * 32, NodeTokens(secret))


def test_a_server_is_asked_and_told(setup: Setup) -> None:
    setup.answers |= {
        "/+fence": (200, {**PEER.to_json(), "fenced": True}),
        "/+changelog/position?serial=3": (200, {"chain": "3" * 64}),
        "/+changelog/position?serial=9": (404, {"message": "none"}),
        "/+changelog/segments": (200, {"begins_after": {"serial": 2, "chain": "2" * 64}, "segments": []}),
    }
    asked = _asked(setup)
    assert asked.peer() == PEER
    assert asked.notify(NOTE).fenced
    assert json.loads(setup.seen[-1][1]) == NOTE.to_json()
    assert (asked.chain_at(3), asked.chain_at(9)) == ("3" * 64, None)
    assert asked.beginning() == (2, "2" * 64)


@pytest.mark.parametrize("ahead", [5000.0, -5000.0])
def test_clocks_need_not_agree_and_a_prefix_is_not_signed(setup: Setup, ahead: float) -> None:
    setup.ahead = ahead
    asked = _asked(setup, prefix="/prefix")
    assert asked.peer() == asked.peer() == PEER
    assert [path for path, _ in setup.seen] == ["/prefix/+peer"] * 2


def test_who_is_not_let_in_hears_of_the_secret_and_others_hear_what_is_wrong(setup: Setup) -> None:
    with pytest.raises(StrangePrimary, match="--secretfile"):
        _asked(setup, b"w" * 32).peer()
    setup.answers |= {
        "/+fence": (409, {"reason": "the epoch here is 3"}),
        "/+peer": (200, b"no json"),
        "/+changelog/segments": (500, {}),
    }
    with pytest.raises(NotFenced, match="the epoch here is 3"):
        _asked(setup).notify(NOTE)
    for strange in (_asked(setup).peer, _asked(setup).beginning):
        with pytest.raises(StrangePrimary):
            strange()
    setup.url = "http://127.0.0.1:9"
    with pytest.raises(PrimaryUnreachable):
        _asked(setup).peer()
