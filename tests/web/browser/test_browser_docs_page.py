"""Documentation of closed indexes: who sees it in its frame, and what the address in the frame is good for."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.web.browser.browser_asking import BROWSER, page
from tests.web.web_asking import Person, add_stage, logged_in, nobody, signed_in
from tests.web.web_uploads import upload
from tests.web.web_world import World
from twistpi.model.changes import IndexModified

CLOSED = "alice/closed"


@pytest.fixture
def bob(world: World) -> Person:
    """Somebody who may read the documentation of demo on alice/closed."""
    world.add_user("alice")
    world.add_user("bob")
    add_stage(world, CLOSED, acl_read=["alice", "bob"])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("index.html", "<link rel=stylesheet href=x.css>")
        file.writestr("x.css", "h1 { color: red }")
    alice = logged_in(world, "alice")
    for version in ("1.0", "2.0"):
        answer = upload(alice, CLOSED, "docs.zip", made.getvalue(), action="doc_upload", name="demo", version=version)
        assert answer.status == 200
    return signed_in(world, "bob")


def framed(person: Person, version: str = "1.0") -> str:
    """The address in the frame."""
    frame = page(person, f"/{CLOSED}/demo/{version}/+d/index.html").css_first("iframe.docs")
    assert frame is not None
    assert "allow-same-origin" not in (frame.attributes["sandbox"] or "")
    return frame.attributes["src"] or ""


def test_what_is_in_the_frame_needs_no_cookie(world: World, bob: Person) -> None:
    address = framed(bob)
    for path in (address, address.replace("index.html", "x.css")):
        answer = nobody(world).get(path, accept="*/*")
        assert answer.status == 200
        assert answer.headers["content-security-policy"].startswith("sandbox ")
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["access-control-allow-origin"] == "*"
    page(nobody(world), f"/{CLOSED}/demo/1.0/+d/index.html", 403)
    assert nobody(world).get(f"/{CLOSED}/demo/1.0/+doc/x.css", accept="*/*").status == 401


def test_the_address_is_good_for_this_documentation_alone(world: World, bob: Person) -> None:
    add_stage(world, "alice/other", acl_read=["alice", "bob"])
    address = framed(bob)
    token = address.split("/")[6]
    for other in (address.replace("/1.0/", "/2.0/"), address.replace("closed", "other"), address.replace(token, f"{token}x")):
        assert nobody(world).get(other, accept="*/*").status == 403, other
    assert Person(world, session=token).get(f"/{CLOSED}/demo", accept="application/json").status == 401
    assert Person(world, f"bob:{token}").get(f"/{CLOSED}/demo", accept="application/json").status == 401


def test_the_address_ends_with_the_right_to_read_and_with_the_login(world: World, bob: Person) -> None:
    address = framed(bob)
    world.commit(IndexModified(CLOSED, {"acl_read": ["alice"]}))
    assert nobody(world).get(address, accept="*/*").status == 403
    world.commit(IndexModified(CLOSED, {"acl_read": ["alice", "bob"]}))
    assert nobody(world).get(address, accept="*/*").status == 200
    world.clock.advance(world.authenticator.tokens.lifetime_seconds + 1)
    assert nobody(world).get(address, accept=BROWSER).status == 403


def test_open_documentation_has_its_plain_address(world: World, bob: Person) -> None:
    world.commit(IndexModified(CLOSED, removed=("acl_read",)))
    assert framed(bob) == f"/{CLOSED}/demo/1.0/+doc/index.html"
