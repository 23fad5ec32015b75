"""What the server's log tells of a normal day: one line for each thing that people did, or were not allowed to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.archives.made_archives import zip_of
from tests.web.handlers.test_web_push import push
from tests.web.web_asking import FAR, Person, add_mirror, nobody, serial_of
from tests.web.web_uploads import DEV, NAME, PROD, SDIST, WHEEL, path_of, sdist, upload, wheel, with_stages
from tests.web.web_world import World, link
from twistpi.model.releases import ProjectMarked


@pytest.fixture
def alice(world: World) -> Person:
    return with_stages(world)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged at INFO and above."""
    found: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("twistpi") and event["log_level"] >= LogLevel.info:
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_each_change_is_one_line(world: World, alice: Person, lines: list[str]) -> None:
    upload(alice, DEV, WHEEL, wheel())
    upload(alice, DEV, "docs.zip", zip_of({"index.html": b""}), action="doc_upload")
    push(alice, DEV, PROD)
    file, status, reason = path_of(world, DEV, WHEEL), f"/{DEV}/{NAME}/+status", {"reason": "bad"}
    settings, bases = {"email": "a@b.example", "title": "x"}, ["title=New", "bases=root/pypi"]
    requests: tuple[tuple[str, str, Any], ...] = (
        ("POST", file, {"testenvs": {}}),
        ("PUT", f"{file}/+yank", reason),
        ("DELETE", f"{file}/+yank", b""),
        ("PUT", status, {"status": "archived"}),
        ("DELETE", status, b""),
        ("DELETE", file, b""),
        ("PUT", "/alice/new", {"bases": []}),
        ("PATCH", "/alice/new", bases),
        ("DELETE", "/alice/new", b""),
        ("PATCH", "/alice", settings),
        ("PATCH", "/alice", {"password": "123"}),
    )
    for method, path, body in requests:
        assert alice.ask(method, path, body).status < 300, (method, path)
    assert nobody(world).ask("PUT", "/bob", {"password": "secret"}).status == 201
    told = [line.rpartition(" (serial ") for line in lines]
    assert [sentence for sentence, _, _ in told] == [
        f"alice uploaded {WHEEL} to {DEV}",
        f"alice uploaded documentation of {NAME} 1.0 to {DEV}",
        f"alice pushed {WHEEL} from {DEV} to {PROD}, pushed documentation of {NAME} 1.0 from {DEV} to {PROD}",
        f"alice uploaded test results of {WHEEL} to {DEV}",
        f"alice yanked {WHEEL} on {DEV}",
        f"alice unyanked {WHEEL} on {DEV}",
        f"alice gave the status archived to {NAME} on {DEV}",
        f"alice removed the status of {NAME} on {DEV}",
        f"alice removed {WHEEL} from {DEV}",
        "alice created the stage index alice/new",
        "alice changed bases, title of the index alice/new",
        "alice deleted the index alice/new",
        "alice changed email, title of the user alice",
        "alice changed password of the user alice",
        "+anonymous created the user bob",
    ]
    last = serial_of(world)
    assert [serial for _, _, serial in told] == [f"{serial})." for serial in range(last - len(told) + 1, last + 1)]


def test_tokens_are_logged_by_their_public_half(alice: Person, lines: list[str]) -> None:
    made = orjson.loads(alice.ask("POST", "/alice/+tokens", {"may": ["read"]}).body)["result"]
    alice.ask("DELETE", f"/alice/+tokens/{made['token']}")
    created, revoked = lines
    assert created.startswith(f"alice created the API token {made['token']} of alice (serial ")
    assert revoked.startswith(f"alice revoked the API token {made['token']} (serial ")
    secret = made["password"].partition(f"{made['token']}-")[2]  # which may have further dashes in it
    assert len(secret) > 20
    assert secret not in created + revoked


def test_many_changes_of_one_request_are_one_line_that_names_five(world: World, alice: Person, lines: list[str]) -> None:
    for number in range(7):
        alice.ask("PUT", f"/alice/n{number}", {"bases": []})
    alice.ask("PATCH", f"/{PROD}", ["volatile=True"])
    lines.clear()
    alice.ask("DELETE", "/alice")
    assert len(lines) == 1
    named = "alice/dev, alice/n0, alice/n1, alice/n2, alice/n3 and 4 more"
    assert lines[0].startswith(f"alice deleted the index {named}, deleted the user alice (serial")


def test_what_changes_nothing_is_not_logged(alice: Person, lines: list[str]) -> None:
    upload(alice, DEV, WHEEL, wheel())
    lines.clear()
    assert upload(alice, DEV, WHEEL, wheel()).status == 200
    assert lines == []


def test_logins_are_logged_with_their_address_whether_they_succeed_or_fail(world: World, alice: Person, lines: list[str]) -> None:
    alice.ask("PATCH", "/alice", {"password": "123"})
    world.add_user("eve", "")
    visitor = nobody(world)
    for told, password, user in (
        (f"alice logged in from {FAR}.", "123", "alice"),
        (f"A login of alice from {FAR} failed.", "wrong", "alice"),
        (f"A login of eve from {FAR} failed: the password is blank.", "", "eve"),
    ):
        lines.clear()
        visitor.ask("POST", "/+login", {"user": user, "password": password})
        assert lines == [told]


def test_refused_changes_are_logged_with_who_where_and_why(world: World, alice: Person, lines: list[str]) -> None:
    upload(alice, PROD, SDIST, sdist())
    world.add_user("bob", None)
    for person, target, content, by, told in (
        (alice, PROD, sdist(payload=b"other"), "alice", f"409: {SDIST} already exists in non-volatile index"),
        (alice, DEV, b"no archive", "alice", f"400: '{SDIST}' is not a valid distribution"),
        (nobody(world), DEV, sdist(), "+anonymous", "40"),
    ):
        lines.clear()
        answer = upload(person, target, SDIST, content)
        assert 400 <= answer.status < 500
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"POST /{target}/ by {by} from {FAR} was refused with {told}")
        assert " (request " in lines[0]


def test_reading_what_is_kept_from_somebody_is_logged(world: World, alice: Person, lines: list[str]) -> None:
    upload(alice, DEV, WHEEL, wheel())
    path = path_of(world, DEV, WHEEL)
    world.commit(ProjectMarked(DEV, NAME, "quarantined"))
    lines.clear()
    assert nobody(world).get(path).status == 404
    assert len(lines) == 1
    assert "its project demo-pkg is quarantined" in lines[0]


def test_reading_is_not_logged_whatever_the_answer(world: World, alice: Person, lines: list[str]) -> None:
    add_mirror(world)
    upload(alice, DEV, WHEEL, wheel())
    world.list_links("six", [link("six-1.0.tar.gz")], index="alice/mirror")
    lines.clear()
    visitor = nobody(world)
    pages = (f"/{DEV}/+simple/{NAME}/", f"/{DEV}/+simple/none/", "/alice/mirror/+simple/six/")
    for path in (path_of(world, DEV, WHEEL), *pages, "/none/none"):
        visitor.get(path)
    assert lines == []
    alice.ask("PATCH", f"/{DEV}", ["acl_read=alice"])
    lines.clear()
    assert visitor.get(f"/{DEV}/+simple/").status == 401
    assert lines == []
