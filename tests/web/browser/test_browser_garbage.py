"""Garbage collection by clicking: an administrator sees what would be removed, and has it removed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.web.browser.browser_asking import BROWSER
from tests.web.browser.web_browsing import Browser
from tests.web.web_asking import logged_in, nobody
from tests.web.web_uploads import WHEEL
from tests.web.web_world import NOW, World, link, sha256
from twistpi.blobs.address import blob_address
from twistpi.gc.collector import GarbageCollector
from twistpi.model.releases import FileRemoved

pytestmark = pytest.mark.directory("sets the ages of files in the directory")

BODY = b"of no use any more"


@pytest.fixture
def world(world: World) -> World:
    """A server with a file that was removed a day ago, and one that is in use."""
    writer: Any = world.components.writer
    world.rebuild(
        collector=GarbageCollector(
            world.blobs, world.readers, writer, world.clock, offload=world.components.offload, now=world.clock.seconds
        )
    )
    world.add_user("root", "secret")
    world.add_user("alice", "secret")
    for filename, body in ((WHEEL, BODY), ("demo_pkg-2.0.tar.gz", b"in use")):
        one = link(filename, body)
        world.list_links("demo-pkg", [one])
        world.cache_file("demo-pkg", one, body)
        path = world.blobs.path(blob_address(sha256(body), filename))
        os.utime(path, (NOW - 86400, NOW - 86400))
    world.commit(FileRemoved("root/pypi", "demo-pkg", WHEEL))
    return world


def _files(world: World) -> list[str]:
    return [address.filename for address, _size in world.blobs.walk()]


def test_an_administrator_sees_what_is_removed_and_confirms_it(world: World) -> None:
    browser = Browser(world)
    browser.sign_in("root", "secret")
    browser.open("/+status")
    assert 'href="/+gc"' in browser.text
    browser.open("/+gc")
    assert "1 file with 18 bytes is removed for good." in browser.text
    assert WHEEL in _files(world), "only asking removes nothing"
    browser.send("/+gc")
    assert (browser.path, browser.answer.status) == ("/+gc", 200)
    assert "The collection has begun." in browser.text
    world.clock.pump([0.01] * 20)
    assert _files(world) == ["demo_pkg-2.0.tar.gz"]
    browser.open("/+gc")
    assert "Nothing is removed: of 1 file, none is without use." in browser.text
    assert "Collect garbage</button>" not in browser.text
    assert "Of 2 files, 1 file with 18 bytes was removed" in browser.text


def test_what_takes_long_to_count_is_told_as_far_as_it_is_known(world: World) -> None:
    browser = Browser(world)
    browser.sign_in("root", "secret")
    offload = world.offload

    def slowly(*call: Any) -> Any:
        world.clock.advance(3)
        return offload(*call)

    world.offload = slowly
    for number in range(1100):  # more than are examined at a time
        body = b"%d" % number
        world.cache_file("other", link(f"other-{number}.zip", body), body)
    browser.open("/+gc")
    assert "as many as were looked at in a moment" in browser.text


def test_nobody_else_sees_it_or_collects(world: World) -> None:
    assert nobody(world).get("/+gc", accept=BROWSER).status == 403
    browser = Browser(world)
    browser.sign_in("alice", "secret")
    assert browser.open("/+gc").status == 403
    browser.open("/+account")
    token = browser.form("/+logout").fields["form_token"]
    assert browser.post("/+gc", form_token=token).status == 403
    root = Browser(world)
    root.sign_in("root", "secret")
    assert root.post("/+gc", form_token="another").status == 403
    assert WHEEL in _files(world)


def test_programs_get_what_they_always_got(world: World) -> None:
    root = logged_in(world, "root")
    assert root.get("/+gc", accept="*/*").json()["type"] == "gc"
    assert root.ask("POST", "/+gc").status == 202
