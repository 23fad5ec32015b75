"""The ports stay open while the server plays another role, and so do the connections."""

from __future__ import annotations

from pathlib import Path

from tests.web.web_wire import Wire
from tests.web.web_world import NODE_ID, World
from twistpi.web.doorway import Doorway
from twistpi.web.services import NodeFacts
from twistpi.web.transport.connections import Connections

LATER = "3" * 32


def test_open_connections_are_answered_by_the_site_in_force(tmp_path: Path) -> None:
    former = World(str(_folder(tmp_path, "former")))
    later = World(str(_folder(tmp_path, "later")), node=NodeFacts(LATER), connections=former.services.connections)
    doorway = Doorway()
    doorway.lead_to(former.site)
    wire = Wire(former)
    assert wire.ask("/+api").headers["x-devpi-uuid"] == NODE_ID
    doorway.lead_to(later.site)
    assert wire.ask("/+api").headers["x-devpi-uuid"] == LATER
    assert doorway.site is later.site
    for world in (former, later):
        world.close()


def test_connections_of_another_process_are_left_alone(tmp_path: Path) -> None:
    one = World(str(_folder(tmp_path, "one")))
    other = World(str(_folder(tmp_path, "other")), node=NodeFacts(LATER), connections=Connections(one.clock))
    wire = Wire(one)
    other.site.take_over()
    assert wire.ask("/+api").headers["x-devpi-uuid"] == NODE_ID
    for world in (one, other):
        world.close()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
