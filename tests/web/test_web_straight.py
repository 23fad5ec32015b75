"""``/+straight``: what a web server in front is told about a file that it could send itself."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.web.web_asking import Person, add_stage, logged_in, nobody
from tests.web.web_wire import JSON_PAGE, Answer
from tests.web.web_world import MIRROR, World, link
from twistpi.model.changes import IndexModified, LinksChanged
from twistpi.model.records import PageHeader

pytestmark = pytest.mark.directory("has a web server send files from the directory")

WHEEL, BODY = link("demo-1.0-py3-none-any.whl", b"wheel"), b"wheel"
CORE_METADATA = b"Metadata-Version: 2.1\n"
COLD = link("cold-1.0.tar.gz", b"cold")


@pytest.fixture
def setup(world: World) -> World:
    """An open mirror and ``corp/closed``, which alice may read, hold one and the same file."""
    for name in ("corp", "alice", "bob"):
        world.add_user(name, f"{name}-password")
    add_stage(world, "corp/closed", acl_read=["alice"])
    for index in (MIRROR, "corp/closed"):
        world.list_links("demo", [WHEEL], index=index)
        world.cache_file("demo", WHEEL, BODY, index)
        world.cache_metadata("demo", WHEEL, CORE_METADATA, index)
    world.list_links("cold", [COLD])
    return world


def address(person: Person, index: str, project: str = "demo") -> str:
    page = f"/{index}/+simple/{project}/"
    url: str = person.get(page, accept=JSON_PAGE).json()["files"][0]["url"]
    return urljoin(page, url).partition("#")[0]


def where(person: Person, path: str, **headers: str) -> Answer:
    return person.get("/+straight", x_original_uri=path, **headers)


@pytest.mark.parametrize("ending", ["", ".metadata"])
def test_what_is_open_and_here_is_named_with_the_headers_of_its_own_route(setup: World, ending: str) -> None:
    path = address(nobody(setup), MIRROR) + ending
    told, real = where(nobody(setup), path), nobody(setup).get(path, accept="*/*")
    assert (told.status, told.body) == (204, b"")
    assert told.headers["x-twistpi-blob"] == path.partition("/+f/")[2]
    assert told.headers["cache-control"] == "max-age=10"
    assert real.status == 200
    for name in ("etag", "last-modified", "cache-control", "vary"):
        assert told.headers.get(f"x-twistpi-{name}") == real.headers.get(name), name


def test_what_is_closed_is_named_to_its_readers_alone_and_for_now_only(setup: World) -> None:
    path = address(logged_in(setup, "alice"), "corp/closed")
    for stranger in (nobody(setup), logged_in(setup, "bob")):
        refused = where(stranger, path)
        assert (refused.status, refused.headers["cache-control"]) == (403, "no-store")
        assert "x-twistpi-blob" not in refused.headers
    told = where(logged_in(setup, "alice"), path)
    assert (told.status, told.headers["cache-control"]) == (204, "no-store")
    assert told.headers["x-twistpi-cache-control"] == "max-age=365000000, immutable, private"
    assert told.headers["x-twistpi-vary"] == "Authorization, X-Devpi-Auth, Cookie"


def test_an_index_that_is_closed_lets_nothing_through_from_then_on(setup: World) -> None:
    path = address(nobody(setup), MIRROR)
    assert where(nobody(setup), path).status == 204
    mirror = setup.readers.get().index(MIRROR)
    assert mirror is not None
    setup.commit(IndexModified(MIRROR, {**mirror.config, "acl_read": ["alice"]}))
    assert where(nobody(setup), path).status == 403


def test_another_index_in_the_path_opens_nothing(setup: World) -> None:
    """The blobs of all indexes lie in one tree; the path alone says nothing."""
    add_stage(setup, "corp/open")
    path = address(logged_in(setup, "alice"), "corp/closed")
    assert where(nobody(setup), path.replace("corp/closed", "corp/open")).status == 403
    assert where(nobody(setup), path.replace("corp/closed", "corp/unknown")).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/+straight",
        "/root/pypi/+simple/demo/",
        "/root/pypi/+f/000/0000000000000/demo-1.0.tar.gz",
        "{open}/../../../../../corp/closed/x",
        "/root/pypi/+f/../{open}",
        "{open}/more",
        "/root/pypi/+f/%2e%2e/%2e%2e/x",
        "/root/pypi/+f/a%2fb/c/d",
        "/root/pypi/+f/\u00e9/c/d",
    ],
)
def test_what_is_no_file_that_is_here_is_left_to_the_other_routes(setup: World, path: str) -> None:
    assert where(nobody(setup), path.replace("{open}", address(nobody(setup), MIRROR))).status == 403


def test_a_file_that_has_to_be_fetched_is_left_to_its_route(setup: World) -> None:
    assert where(nobody(setup), address(nobody(setup), MIRROR, "cold")).status == 403


def test_a_file_that_is_gone_from_the_disk_is_left_to_its_route(setup: World) -> None:
    path = address(nobody(setup), MIRROR)
    told = where(nobody(setup), path).headers["x-twistpi-blob"]
    (Path(setup.folder) / "+files" / told).unlink()
    assert where(nobody(setup), path).status == 403


@pytest.mark.parametrize("written", ["%2Bf", "+f"])
def test_the_prefix_and_the_spelling_of_a_path_do_not_matter(setup: World, written: str) -> None:
    path = "/pkgs" + address(nobody(setup), MIRROR).replace("+f", written)
    setup.components.addresses.outside_url = "https://pypi.example/pkgs"
    assert where(nobody(setup), path).status == 204


def test_a_project_in_quarantine_is_left_to_its_route(setup: World) -> None:
    path = address(nobody(setup), MIRROR)
    setup.commit(LinksChanged(MIRROR, "demo", header=PageHeader(status="quarantined")))
    assert where(nobody(setup), path).status == 403
