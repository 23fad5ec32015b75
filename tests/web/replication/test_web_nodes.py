"""The authentication of other servers: a token is accepted once, clocks may differ, and a restart accepts no token again."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from twisted.web.http_headers import Headers

from twistpi.auth.tokens import AHEAD, WINDOW, NodeTokens
from twistpi.model.server_errors import NodeRefused
from twistpi.web.replication.authentication import NodeAuthenticator

TOKENS = NodeTokens(b"s" * 32)
NODE = "5" * 32
TARGET = "/+changelog?after=0"
START = 1_795_000_000.25


@attrs.define
class Asking:
    """As much of a request as the guard looks at."""

    authorization: str | None
    method: bytes = b"GET"
    uri: bytes = TARGET.encode()

    @property
    def requestHeaders(self) -> Headers:
        return Headers({} if self.authorization is None else {"Authorization": [self.authorization]})


class Guarded:
    """A guard whose time a test moves, and somebody with the secret."""

    def __init__(self) -> None:
        self.elapsed = 7.0
        self.nodes = NodeAuthenticator(TOKENS, lambda: self.elapsed, START)
        self.elapsed += 0.001
        self._nonces = itertools.count()

    def token(self, at: float | None = None, nonce: str | None = None) -> str:
        made = self.nodes.now() if at is None else at
        return TOKENS.make(NODE, "GET", TARGET, made, f"{next(self._nonces):x}" if nonce is None else nonce)

    def ask(self, token: str) -> str:
        """Who was let in, or why not."""
        asking: Any = Asking(f"Twistpi-Node {token}")
        try:
            return self.nodes.node(asking).node
        except NodeRefused as refusal:
            return refusal.reason

    def told_time(self) -> float:
        return float(dict(self.nodes.headers())[b"X-Twistpi-Time"])


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_who_has_the_secret_is_let_in(guarded: Guarded) -> None:
    assert guarded.ask(guarded.token()) == NODE


@pytest.mark.parametrize("header", [None, "", "Basic cm9vdDo=", "Bearer x", "Twistpi-NodeAuthenticator x"])
def test_who_brings_no_token_is_told_so(guarded: Guarded, header: str | None) -> None:
    asking: Any = Asking(header)
    with pytest.raises(NodeRefused) as refusal:
        guarded.nodes.node(asking)
    assert (refusal.value.reason, refusal.value.status) == ("missing", 403)


def test_a_token_serves_once(guarded: Guarded) -> None:
    token = guarded.token()
    assert [guarded.ask(token), guarded.ask(token)] == [NODE, "replayed"]
    for _second in range(int(WINDOW) + 5):
        guarded.elapsed += 1
        assert guarded.ask(token) in {"replayed", "expired"}
    assert guarded.ask(guarded.token(nonce="0")) == NODE


def test_who_is_refused_as_expired_learns_the_time_that_counts(guarded: Guarded) -> None:
    guarded.elapsed += 1000
    for wrong in (-10_000.0, -WINDOW - 1, AHEAD + 0.5, 10_000.0):
        assert guarded.ask(guarded.token(at=guarded.told_time() + wrong)) == "expired"
        assert guarded.ask(guarded.token(at=guarded.told_time())) == NODE


def test_what_served_before_a_restart_does_not_serve_after_it(guarded: Guarded) -> None:
    guarded.elapsed += 100
    now = guarded.nodes.now()
    tokens = [guarded.token(at=now + early) for early in (-WINDOW, -5, 0, AHEAD)]
    assert {guarded.ask(token) for token in tokens} == {NODE}
    restarted = Guarded()
    restarted.nodes = NodeAuthenticator(TOKENS, lambda: restarted.elapsed, now)
    for _moment in range(30):
        assert {restarted.ask(token) for token in tokens} == {"expired"}
        restarted.elapsed += 0.1
        assert restarted.ask(restarted.token(at=restarted.told_time())) == NODE


def test_only_so_many_nonces_are_remembered_and_none_serves_twice(guarded: Guarded) -> None:
    few = NodeAuthenticator(TOKENS, lambda: guarded.elapsed, START, most_nonces=50)
    guarded.nodes = few
    guarded.elapsed += 10
    tokens = []
    for _ in range(200):
        guarded.elapsed += 0.01
        tokens.append(guarded.token())
        assert guarded.ask(tokens[-1]) == NODE
    assert few.remembered == 50
    assert {guarded.ask(token) for token in tokens} == {"replayed", "expired"}
