"""Users who send requests to a small server, each over a connection of their own."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import orjson
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from tests.web.web_wire import Answer, Wire, read_answer
from tests.web.web_world import World
from twistpi.auth import tokens as api_tokens
from twistpi.model.changes import IndexCreated, TokenCreated
from twistpi.model.records import User
from twistpi.web.sessions import COOKIE

FAR: Final = "192.0.2.77"
NEAR: Final = "127.0.0.1"
STAGE: Final[dict[str, Any]] = {
    "type": "stage",
    "volatile": True,
    "bases": [],
    "acl_upload": ["alice"],
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
}
"""A stage of alice's as it is kept."""


@attrs.define(eq=False)
class Person:
    """Somebody with credentials, or without."""

    world: World
    credentials: str | None = None
    """``name:secret``."""
    address: str = FAR
    session: str | None = None
    """What the browser keeps in its cookie."""

    def ask(self, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
        """Ask as the devpi client does; ``body`` is bytes, or what becomes JSON."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {"accept": "application/json", **headers}
        if self.credentials is not None:
            given.setdefault("x_devpi_auth", basic(self.credentials))
        if self.session is not None:
            given.setdefault("cookie", f"{COOKIE}={self.session}")
        return ask_raw(self.world, method, path, data, given, self.address)

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for ``path``."""
        return self.ask("GET", path, **headers)


def ask_raw(
    world: World, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, address: str = FAR
) -> Answer:
    """One request from ``address`` with nothing but these headers, a host and a length."""
    lines = {"host": "localhost" if address == NEAR else "devpi.example", "content_length": str(len(body)), **(headers or {})}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    wire = Wire(world)
    wire.transport = StringTransport(peerAddress=IPv4Address("TCP", address, 5000))
    wire.channel = world.site.buildProtocol(None)
    wire.channel.callLater = world.clock.callLater
    wire.channel.makeConnection(wire.transport)
    answer = wire.send(head.encode("latin-1") + b"\r\n" + body)
    for _second in range(60):  # wrong passwords are answered late
        if answer:
            break
        world.clock.advance(1)
        answer = wire.send(b"")
    return read_answer(answer, head=method == "HEAD")


class Worlds:
    """Worlds of several kinds, each used by one test after the other until something changes in it."""

    def __init__(self, folder: Path, make: Callable[[str, Any], World]) -> None:
        self._folder = folder
        self._make = make
        self._made = 0
        self._current: dict[Any, tuple[World, int]] = {}

    def get(self, kind: Any = None) -> World:
        """A world of ``kind`` as ``make`` makes it."""
        known = self._current.pop(kind, None)
        if known is not None and serial_of(known[0]) != known[1]:
            known[0].close()
            known = None
        if known is None:
            self._made += 1
            folder = self._folder / str(self._made)
            folder.mkdir()
            world = self._make(str(folder), kind)
            known = world, serial_of(world)
        self._current[kind] = known
        return known[0]

    def close(self) -> None:
        """Close them all."""
        for world, _serial in self._current.values():
            world.close()


def basic(credentials: str) -> str:
    """``name:secret`` as headers carry it."""
    return base64.b64encode(credentials.encode()).decode("ascii")


def nobody(world: World, address: str = FAR) -> Person:
    """Somebody without credentials."""
    return Person(world, address=address)


def logged_in(world: World, name: str) -> Person:
    """The user ``name`` with a fresh login token."""
    user = world.readers.get().user(name)
    assert isinstance(user, User)
    return Person(world, f"{name}:{world.authenticator.tokens.make(user, world.clock.seconds())}")


def signed_in(world: World, name: str) -> Person:
    """The user ``name`` in a browser, with a session that begins now."""
    user = world.readers.get().user(name)
    assert isinstance(user, User)
    return Person(world, session=world.authenticator.tokens.make_session(user, world.clock.seconds(), os.urandom(4).hex()))


def with_api_token(world: World, user: str, *may: str, index: str | None = None, expires: str | None = None) -> Person:
    """Somebody with a new API token of ``user``'s."""
    text, public, digest = api_tokens.make(os.urandom)
    world.commit(TokenCreated(public, user, digest, may, index=index, expires=expires))
    return Person(world, f"__token__:{text}")


def add_stage(world: World, name: str = "alice/dev", **config: Any) -> None:
    """A stage with the defaults, but for ``config``."""
    world.commit(IndexCreated(name, {**STAGE, "acl_upload": [name.partition("/")[0]], **config}))


def add_mirror(world: World, name: str = "alice/mirror", **config: Any) -> None:
    """A mirror with the defaults, but for ``config``."""
    world.commit(
        IndexCreated(name, {"type": "mirror", "volatile": True, "mirror_url": "https://upstream.example/simple/", **config})
    )


def serial_of(world: World) -> int:
    """How many entries there are."""
    return world.view.position.serial
