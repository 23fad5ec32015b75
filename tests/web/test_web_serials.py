"""Reading what one has written at whichever node of a cluster answers next."""

from __future__ import annotations

import pytest

from tests.web.web_asking import logged_in, nobody
from tests.web.web_world import MakeWorld, World
from twistpi.model.changes import UserCreated
from twistpi.model.server_errors import LogUnreachable
from twistpi.web.serials import COOKIE


async def write_what_others_wrote(world: World, serial: int) -> None:
    """As a node that fetches what it lacks, which is one entry."""
    if world.view.position.serial < serial:
        world.commit(UserCreated("alice"))


@pytest.fixture
def node(make_world: MakeWorld) -> World:
    """A node of a cluster."""
    world = make_world()
    world.rebuild(reach=lambda serial: write_what_others_wrote(world, serial))
    return world


@pytest.mark.parametrize("name", ["x_devpi_serial", "x_twistpi_serial", "cookie"])
def test_a_request_is_answered_by_a_node_that_is_as_far_as_its_client_knows(node: World, name: str) -> None:
    serial = node.view.position.serial
    assert nobody(node).get("/alice").status == 404
    value = f"{COOKIE}={serial + 1}" if name == "cookie" else str(serial + 1)
    assert nobody(node).get("/alice", **{name: value}).status == 200


@pytest.mark.parametrize("value", ["", "-1", "x", "1e9", "9" * 40, "\xb2"])
def test_what_is_no_serial_is_not_heeded(node: World, value: str) -> None:
    assert nobody(node).get("/alice", x_devpi_serial=value).status == 404


def test_what_no_node_has_written_is_not_waited_for(node: World) -> None:
    assert nobody(node).get("/root", x_devpi_serial="1000").status == 200


def test_a_node_that_cannot_find_out_says_so(make_world: MakeWorld) -> None:
    world = make_world()
    world.rebuild(reach=lambda _serial: _fail())
    answer = nobody(world).get("/root", x_devpi_serial="1000")
    assert answer.status == 503
    assert "Reading goes on" in answer.json()["message"]


async def _fail() -> None:
    raise LogUnreachable("db.example/twistpi", "it is gone")


def test_the_answer_to_a_change_tells_a_browser_how_far_the_node_was_and_others_do_not(node: World) -> None:
    node.add_user("bob", "secret")
    answer = logged_in(node, "bob").ask("PATCH", "/bob", {"title": "x"})
    assert answer.status == 200
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}={node.view.position.serial};")
    assert "set-cookie" not in nobody(node).get("/bob").headers


def test_a_server_that_is_alone_sets_no_cookie(world: World) -> None:
    world.add_user("bob", "secret")
    assert "set-cookie" not in logged_in(world, "bob").ask("PATCH", "/bob", {"title": "x"}).headers
