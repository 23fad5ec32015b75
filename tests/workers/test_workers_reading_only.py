"""What a worker answers by itself, and what it leaves to the first process."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.in_reactor import in_reactor
from tests.web.web_wire import JSON_PAGE, Wire
from tests.web.web_world import MIRROR, NOW, SECRET, UPSTREAM, World, at_once, link
from twistpi.auth.passwords import hash_password
from twistpi.auth.tokens import LoginTokens
from twistpi.mirror.core_metadata import MetadataService
from twistpi.mirror.files import FileService
from twistpi.mirror.local_only import LocalOnly
from twistpi.mirror.pages import GONE, PageService, PageState
from twistpi.model.changes import IndexCreated, UserModified
from twistpi.model.errors import AskFirst
from twistpi.model.records import Freshness
from twistpi.model.urls import public_address
from twistpi.rules.mirrors import file_path
from twistpi.web.authentication import Authenticator, PasswordQueue
from twistpi.web.serials import COOKIE, leave_to_first

WHEEL = link("hello-1.0-py3-none-any.whl")
PAGE = f"/{MIRROR}/+simple/hello/"
FILE = f"/{MIRROR}/{file_path(WHEEL)}"


class First:
    """Notes what is handed on, and says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def takes(self, request: object, method: bytes, raw: bytes) -> bool:
        return False

    async def ask_first(self, request: Any) -> None:
        self.asked.append(request.uri.decode())
        request.setResponseCode(299)
        request.responseHeaders.setRawHeaders(b"Content-Length", [b"0"])


class Passwords:
    """What the first process knows of passwords."""

    def __init__(self) -> None:
        self.looked: list[tuple[str, str]] = []
        self.busy = False

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        self.looked.append((name, password))
        if self.busy:
            raise AskFirst
        return password == "secret"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(str(tmp_path))
    mirrors: Any = made.components.mirrors
    site: Any = made.site
    source = LocalOnly()
    blobs: Any = made.blobs
    clock: Any = made.clock
    offload: Any = at_once
    mirrors.pages = PageService(source, made.readers, clock, cache_expiry=1800.0)
    mirrors.files = mirrors.blobs = FileService(source, blobs, offload)
    mirrors.metadata, mirrors.names = MetadataService(source, blobs, offload), source
    made.components.access.authenticator = Authenticator(
        made.readers, LoginTokens(SECRET, 36000), PasswordQueue(at_once), made.clock, bytes, 4, elsewhere=Passwords()
    )
    site.forwarder = First()
    yield made
    made.close()


def asked(world: World) -> list[str]:
    forward: Any = world.site.forwarder
    return forward.asked  # type: ignore[no-any-return]


def confirm(world: World, at: float = NOW, **more: Any) -> None:
    world.view.remember_freshness(MIRROR, "hello", Freshness(at, source=UPSTREAM, **more))


def test_a_page_is_answered_while_it_is_fresh_and_handed_on_when_it_is_not(world: World) -> None:
    world.list_links("hello", [WHEEL])
    confirm(world)
    wire = Wire(world)
    for _ in range(2):
        assert WHEEL.filename in wire.ask(PAGE, accept=JSON_PAGE).content.decode()
    world.clock.advance(1801)
    wire = Wire(world)  # nobody keeps an idle connection for so long
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 299
    confirm(world, world.clock.seconds())  # the first process asked the upstream
    assert wire.ask(PAGE, accept=JSON_PAGE).status == 200
    assert asked(world) == [PAGE]


@in_reactor
async def test_what_was_not_confirmed_by_this_upstream_is_for_the_first_process(world: World) -> None:
    mirror: Any = world.components.mirrors.pages
    index = world.view.reader.index(MIRROR)
    world.list_links("hello", [WHEEL])
    for doubtful in (None, Freshness(NOW, source="https://other.example/simple/")):
        if doubtful is not None:
            world.view.remember_freshness(MIRROR, "hello", doubtful)
        with pytest.raises(AskFirst):
            await mirror.ensure(index, "hello")
    confirm(world, NOW - 100)
    assert await mirror.ensure(index, "hello") == PageState("hit", 100.0, public_address(UPSTREAM), None, 1700.0)
    for project, force in (("hello", True), ("unknown", False)):
        with pytest.raises(AskFirst):
            await mirror.ensure(index, project, force=force)
    world.cache_file("hello", WHEEL, b"bytes")
    confirm(world, NOW - 10, missing=True)
    assert await mirror.ensure(index, "hello") == PageState("hit", 10.0, public_address(UPSTREAM), GONE, 50.0)


@pytest.mark.parametrize("name", ["x_devpi_serial", "cookie"])
def test_who_knows_of_more_than_is_here_is_answered_by_the_first_process_which_waits_for_it(world: World, name: str) -> None:
    first = world.site.forwarder
    world.rebuild(reach=leave_to_first)
    world.site.forwarder = first
    for serial, status in ((world.view.position.serial, 200), (world.view.position.serial + 1, 299)):
        value = f"{COOKIE}={serial}" if name == "cookie" else str(serial)
        assert Wire(world).ask("/root", **{name: value}).status == status


def test_a_file_is_sent_when_it_is_here(world: World) -> None:
    world.list_links("hello", [WHEEL])
    wire = Wire(world)
    assert wire.ask(FILE).status == 299
    assert wire.ask(f"{FILE}.metadata").status == 299
    world.cache_file("hello", WHEEL, b"bytes")
    world.cache_metadata("hello", WHEEL, b"Name: hello\n")
    assert wire.ask(FILE).body == b"bytes"
    assert wire.ask(f"{FILE}.metadata").body == b"Name: hello\n"
    assert wire.ask(f"/{MIRROR}/+f/abc/0123456789abc/other-1.0.tar.gz").status == 299


def test_a_document_is_made_when_the_core_metadata_that_it_holds_is_here(world: World) -> None:
    path = f"/{MIRROR}/hello/json"
    world.list_links("hello", [WHEEL])
    confirm(world)
    wire = Wire(world)
    assert wire.ask(path).status == 299
    world.cache_metadata("hello", WHEEL, b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\nSummary: Says hello\n")
    answer = wire.ask(path)
    assert (answer.json()["info"]["summary"], answer.headers["access-control-allow-origin"]) == ("Says hello", "*")
    assert asked(world) == [path]


def test_lists_of_names_are_for_the_first_process_and_tokens_are_not(world: World) -> None:
    world.add_user("alice", "secret")
    world.commit(IndexCreated("alice/dev", {"type": "stage", "acl_read": ["alice"]}))
    wire = Wire(world)
    assert wire.ask(f"/{MIRROR}/+simple/", accept=JSON_PAGE).status == 299
    token = LoginTokens(SECRET, 36000).make(world.view.reader.user("alice"), NOW)  # type: ignore[arg-type]
    assert wire.ask("/alice/dev/+simple/", authorization=basic("alice", token)).status == 200
    assert wire.ask("/alice/dev/+simple/").status == 401


def test_a_password_is_looked_at_by_the_first_process_and_then_known_for_a_minute(world: World) -> None:
    world.add_user("alice", "secret")
    world.commit(IndexCreated("alice/dev", {"type": "stage", "acl_read": ["alice"]}))
    authenticator: Any = world.components.access.authenticator
    wire, passwords = Wire(world), authenticator.elsewhere

    def status(user: str, password: str) -> int:
        return wire.ask("/alice/dev/+simple/", authorization=basic(user, password)).status

    assert [status("alice", "secret") for _ in range(3)] == [200, 200, 200]
    assert passwords.looked == [("alice", "secret")]
    assert [status("alice", "wrong") for _ in range(2)] == [401, 401]
    assert passwords.looked[1:] == [("alice", "wrong")] * 2, "the first process counts each of them"
    world.clock.advance(61)
    assert status("alice", "secret") == 200
    assert len(passwords.looked) == 4
    # Where there is no plain answer, the first process answers all of it.
    assert [status("nobody", "secret"), status("alice", "")] == [299, 299]
    passwords.busy = True
    assert status("alice", "other") == 299
    # A password that was changed is not right any more, however lately it was.
    world.commit(UserModified("alice", password_hash=hash_password("new", 4)))
    assert status("alice", "secret") == 299


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
