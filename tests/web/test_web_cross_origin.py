"""What pages of other sites may read in a visitor's browser (CORS): what is open to everybody, and nothing else."""

from __future__ import annotations

import pytest

from tests.web.web_asking import add_stage, logged_in, nobody
from tests.web.web_uploads import WHEEL, form, post, upload, wheel
from tests.web.web_wire import JSON_PAGE, Answer, Wire, ordinary
from tests.web.web_world import MIRROR, MakeWorld, World, link, sha256
from twistpi.model.changes import IndexModified

BODY = b"wheel"
MIRRORED = link("demo-1.0-py3-none-any.whl", BODY)
FILE = f"/{MIRROR}/+f/{sha256(BODY)[:3]}/{sha256(BODY)[3:16]}/{MIRRORED.filename}"
SIMPLE = f"/{MIRROR}/+simple/demo/"
ORIGIN = "https://lite.example"
EXPOSED = "Content-Range, ETag, Retry-After, X-PyPI-Last-Serial"
OPEN = [SIMPLE, FILE, f"{FILE}.metadata", f"/{MIRROR}/+simple/", f"/{MIRROR}/demo/json", f"/{MIRROR}/+simple/demo/1.0/json"]


@pytest.fixture
def setup(world: World) -> World:
    return fill(world)


def fill(world: World) -> World:
    """A mirror that everybody may read, ``alice/closed``, and ``bob/dev``, which is open and inherits it."""
    world.list_links("demo", [MIRRORED])
    world.cache_file("demo", MIRRORED, BODY)
    world.cache_metadata("demo", MIRRORED, b"Metadata-Version: 2.1\n")
    world.names.put("page.html", b"<html>")
    for name in ("alice", "bob"):
        world.add_user(name, None)
    add_stage(world, "alice/closed", acl_read=["alice"])
    add_stage(world, "bob/dev", bases=["alice/closed"])
    for index in ("alice/closed", "bob/dev"):
        assert upload(logged_in(world, index.partition("/")[0]), index, WHEEL, wheel(payload=index.encode())).status == 200
    return world


def is_shared(answer: Answer) -> bool:
    names = {name for name in answer.headers if name.startswith("access-control-")}
    if not names:
        return False
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in names
    return True


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_is_shared_at_first_and_when_it_is_ready(setup: World, path: str) -> None:
    wire = Wire(setup)
    for _time in range(2):
        answer = wire.ask(path, origin=ORIGIN, accept="*/*")
        assert (answer.status, answer.headers["access-control-expose-headers"]) == (200, EXPOSED)
        assert is_shared(answer)
        assert is_shared(wire.ask(path, "HEAD"))
        unchanged = wire.ask(path, accept="*/*", if_none_match=answer.headers["etag"])
        assert (unchanged.status, is_shared(unchanged)) == (304, True)


def test_the_ready_ones_are_shared_without_a_request_object(setup: World) -> None:
    wire = Wire(setup)
    for path in (SIMPLE, FILE):
        wire.ask(path)
        seen = ordinary(wire)
        assert is_shared(wire.ask(path, origin=ORIGIN))
        assert seen == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (FILE, {"range": "bytes=0-1"}, 206),
        (FILE, {"range": "bytes=9-"}, 416),
        (f"/{MIRROR}/+simple/nope/", {}, 404),
        (f"/{MIRROR}/+simple/nope/", {"cookie": "a=b"}, 404),
        (f"/{MIRROR}/+f/000/0000000000000/x-1.tar.gz", {}, 404),
        (f"/{MIRROR}/nope/json", {}, 404),
        (f"/{MIRROR}/demo/7/json", {}, 404),
        (f"/{MIRROR}/+simple/Demo", {}, 301),
        (SIMPLE, {"accept": "image/png"}, 406),
    ],
)
def test_so_are_parts_errors_and_redirects(setup: World, path: str, headers: dict[str, str], status: int) -> None:
    answer = Wire(setup).ask(path, origin=ORIGIN, **headers)
    assert (answer.status, is_shared(answer)) == (status, True)


@pytest.mark.parametrize("index", ["alice/closed", "bob/dev", "carol/none"])
def test_nothing_of_an_index_that_is_closed_or_inherits_one_is_shared(setup: World, index: str) -> None:
    alice = logged_in(setup, "alice")
    page = alice.get(f"/{index}/+simple/demo-pkg/", accept=JSON_PAGE)
    urls = [file["url"] for file in page.json()["files"]] if page.status == 200 else []
    rest = ["+simple/demo-pkg/", "+simple/nope/", "+simple/Demo-Pkg", "+simple/", "demo-pkg/json", *(url[6:] for url in urls)]
    for path in (f"/{index}/{one}" for one in rest):
        for person in (alice, nobody(setup)):
            for _time in range(2):
                assert not is_shared(person.get(path, accept="*/*", origin=ORIGIN)), path
                assert not is_shared(person.ask("OPTIONS", path, origin=ORIGIN, access_control_request_method="GET"))


def test_what_a_base_allows_counts_at_once(setup: World) -> None:
    wire = Wire(setup)
    page = logged_in(setup, "alice").get("/bob/dev/+simple/demo-pkg/", accept=JSON_PAGE).json()
    [url] = [file["url"][6:] for file in page["files"]]
    path = f"/bob/dev/{url}"
    for readers, expected in ((["alice"], False), ([":ANONYMOUS:"], True), (["alice"], False)):
        setup.commit(IndexModified("alice/closed", {"acl_read": readers}))
        for _time in range(2):
            answer = wire.ask(path)
            assert (answer.status, is_shared(answer)) == (200, expected)


@pytest.mark.parametrize("path", [*OPEN, f"/{MIRROR}/pypi/demo/json"])
def test_browsers_may_ask_for_parts_and_conditions(setup: World, path: str) -> None:
    asked = {"origin": ORIGIN, "access_control_request_method": "GET", "access_control_request_headers": "range"}
    answer = Wire(setup).ask(path, "OPTIONS", **asked)
    assert (answer.status, is_shared(answer)) == (204, True)
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"Accept", "If-None-Match", "Range"} <= set(allowed)
    assert not {"Authorization", "Cookie", "X-Devpi-Auth"} & set(allowed)


@pytest.mark.parametrize("path", ["/", "/alice", f"/{MIRROR}", f"/{MIRROR}/demo", "/+api", f"/{MIRROR}/+api", "/+status"])
def test_nothing_else_is_shared(setup: World, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        for accept in ("*/*", "text/html", "application/json"):
            assert not is_shared(Wire(setup).ask(path, method, origin=ORIGIN, accept=accept))


def test_changes_that_another_site_makes_a_browser_ask_for_are_refused_as_ever(setup: World) -> None:
    bob = logged_in(setup, "bob")
    answer = post(bob, "bob/dev", form(WHEEL, wheel()), origin=ORIGIN)
    assert (answer.status, is_shared(answer)) == (403, False)
    assert bob.ask("DELETE", "/bob/dev/demo-pkg", origin=ORIGIN).status == 403


def test_a_web_server_in_front_is_told(setup: World) -> None:
    told = nobody(setup).get("/+straight", x_original_uri=FILE)
    assert told.headers["x-twistpi-access-control-allow-origin"] == "*"
    assert told.headers["x-twistpi-access-control-expose-headers"] == EXPOSED
    page = logged_in(setup, "alice").get("/bob/dev/+simple/demo-pkg/", accept=JSON_PAGE).json()
    told = nobody(setup).get("/+straight", x_original_uri=f"/bob/dev/{page['files'][0]['url'][6:]}")
    assert told.status == 204
    assert "x-twistpi-access-control-allow-origin" not in told.headers


def test_a_setting_keeps_everything_from_pages_of_other_sites(make_world: MakeWorld) -> None:
    world = fill(make_world(shares=False))
    wire = Wire(world)
    for path in OPEN:
        for _time in range(2):
            for method in ("GET", "HEAD"):
                assert not is_shared(wire.ask(path, method, origin=ORIGIN, accept="*/*"))
        preflight = wire.ask(path, "OPTIONS", origin=ORIGIN, access_control_request_method="GET")
        assert not is_shared(preflight)
    assert not is_shared(wire.ask(f"/{MIRROR}/+simple/nope/", origin=ORIGIN))
