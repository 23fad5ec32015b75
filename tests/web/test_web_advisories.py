"""What advisories are about is not offered: on pages, at addresses, as metadata and JSON, from the moment they are known."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.web.web_wire import Answer, Wire
from tests.web.web_world import MIRROR, World, link
from twistpi.advisories.advisory_set import write_set
from twistpi.model.changes import IndexCreated, IndexModified
from twistpi.model.records import Link
from twistpi.rules.mirrors import file_path
from twistpi.rules.osv import Advisory, Range

GOOD, BAD = (link(f"hello-{version}-py3-none-any.whl", version.encode()) for version in ("1.0", "2.0"))
MALWARE = Advisory("hello", "MAL-2026-1", ("GHSA-9",), "steals keys", published="2026-11-20T00:00:00Z", versions=("2.0",))
HOLE = Advisory("hello", "GHSA-1", severity="high", summary="reads any file", ranges=(Range("0", "1.5"), Range("2", "2.1")))
JSON = "application/vnd.pypi.simple.v1+json"
DEV = "ann/dev"
Advise = Callable[..., None]


@pytest.fixture
def world(world: World) -> World:
    world.list_links("hello", [GOOD, BAD])
    world.cache_file("hello", GOOD, b"1.0")
    world.cache_file("hello", BAD, b"2.0")
    world.commit(IndexCreated(DEV, {"type": "stage", "bases": [MIRROR]}))
    return world


@pytest.fixture
def advise(world: World, tmp_path: Path) -> Advise:
    """Have a set of advisories accepted, as when the loader has loaded one."""
    store = world.components.advisories.store
    store.path = str(tmp_path / "advisories.sqlite")

    def advise(*advisories: Advisory) -> None:
        content = io.BytesIO()
        write_set(advisories, content, str(tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"))
        changed = store.load(io.BytesIO(content.getvalue()), hashlib.sha256(content.getvalue()).hexdigest())
        world.site.advisories_changed(changed)

    return advise


def names(world: World, index: str = MIRROR, project: str = "hello") -> list[str]:
    page = json.loads(Wire(world).ask(f"/{index}/+simple/{project}/", accept=JSON).body)
    return [file["filename"] for file in page["files"]]


def get(world: World, one: Link, index: str = MIRROR, more: str = "") -> Answer:
    return Wire(world).ask(f"/{index}/{file_path(one)}{more}")


def test_malware_is_neither_on_pages_nor_at_its_address_from_the_moment_it_is_known(world: World, advise: Advise) -> None:
    advise()
    for _ in range(2):  # and ready to be sent from the second time on
        assert names(world) == names(world, DEV) == [GOOD.filename, BAD.filename]
        assert get(world, BAD).status == 200
    advise(MALWARE, HOLE)
    for index in (MIRROR, DEV):
        assert names(world, index) == [GOOD.filename]
        refused = get(world, BAD, index)
        assert (refused.status, refused.headers["x-twistpi-policy"]) == (403, f"advisories; index={MIRROR}")
        assert b"hello 2.0 is malware, MAL-2026-1: steals keys. Since 2026-11-20T00:00:00Z." in refused.body
    assert get(world, BAD, more=".metadata").status == 403
    assert get(world, GOOD).status == 200
    told = json.loads(Wire(world).ask(f"/{MIRROR}/hello/json", accept="application/json").body)
    assert [*told["releases"]] == ["1.0"]
    advise(HOLE)
    assert names(world) == [GOOD.filename, BAD.filename]
    assert get(world, BAD).status == 200, "the record was withdrawn"


def test_what_becomes_known_while_metadata_is_fetched_counts(world: World, advise: Advise) -> None:
    world.cache_metadata("hello", BAD, b"Metadata-Version: 2.1\nName: hello\nVersion: 2.0\n")
    advise()
    world.metadata.meanwhile = lambda: advise(MALWARE)
    for _ in range(2):
        assert get(world, BAD, more=".metadata").status == 403


@pytest.mark.parametrize(
    ("setting", "offered"),
    [
        ("block-malware", [BAD]),
        ("off", [GOOD, BAD]),
        ("report", [GOOD, BAD]),
        ("block-severity=high", []),
        ("block-severity=critical", [BAD]),
    ],
)
def test_a_setting_says_which_advisories_count(world: World, advise: Advise, setting: str, offered: Sequence[Link]) -> None:
    other = Advisory("hello", "MAL-2026-2", versions=("1.0",))
    advise(HOLE, other)
    world.commit(IndexModified(MIRROR, {"advisories": setting}))
    assert names(world) == names(world, DEV) == [one.filename for one in offered]


def test_what_is_reported_is_sent_counted_and_listed_each_time(world: World, advise: Advise) -> None:
    advise(MALWARE)
    world.commit(IndexModified(MIRROR, {"advisories": "report"}))
    for _ in range(3):
        assert get(world, BAD).status == 200
    (group,) = world.components.policies.refused.groups()
    assert (group.count, group.newest.rule, group.newest.is_enforced) == (3, "advisories", False)
    assert "MAL-2026-1" in group.newest.reason


def test_own_uploads_are_not_held_by_what_is_known_against_a_public_name(world: World, advise: Advise) -> None:
    own = link("hello-2.0.tar.gz", b"own")
    world.list_links("hello", [own], index=DEV)
    world.cache_file("hello", own, b"own", DEV)
    advise(MALWARE, Advisory("hello", "MAL-2026-3", ranges=(Range("0"),)))
    world.commit(IndexModified(DEV, {"advisories": "block-severity=low"}))
    assert names(world, DEV) == [own.filename]
    assert get(world, own, DEV).status == 200
    told = json.loads(Wire(world).ask(f"/{DEV}/hello/json", accept="application/json").body)
    assert (told["info"]["version"], told["vulnerabilities"]) == ("2.0", [])


def test_another_spelling_of_a_name_or_version_is_the_same(world: World, advise: Advise) -> None:
    odd = link("Hel_Lo-2.0.0-py3-none-any.whl", b"odd")
    world.list_links("hel-lo", [odd])
    world.cache_file("hel-lo", odd, b"odd")
    advise(Advisory("hel-lo", "MAL-2026-4", versions=("2",)))
    assert names(world, project="hel-lo") == []
    assert get(world, odd).status == 403


def test_vulnerabilities_of_a_version_that_is_offered_are_in_its_json(world: World, advise: Advise) -> None:
    advise(HOLE)
    told = json.loads(Wire(world).ask(f"/{MIRROR}/hello/json", accept="application/json").body)
    assert told["vulnerabilities"] == [
        {
            "aliases": [],
            "details": "reads any file",
            "fixed_in": ["1.5", "2.1"],
            "id": "GHSA-1",
            "link": "https://osv.dev/vulnerability/GHSA-1",
            "source": "osv",
            "summary": "reads any file",
            "withdrawn": None,
        }
    ]
    advise()
    told = json.loads(Wire(world).ask(f"/{MIRROR}/hello/1.0/json", accept="application/json").body)
    assert told["vulnerabilities"] == []
