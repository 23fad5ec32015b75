"""Indexes that not everybody may read: pages, name lists, files, metadata and JSON, and what inherits from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from tests.web.web_asking import Person, add_mirror, add_stage, basic, logged_in, nobody, signed_in, with_api_token
from tests.web.web_wire import HTML_PAGE, JSON_PAGE, Wire, read_answer, request_bytes
from tests.web.web_world import MIRROR, MakeWorld, World, link
from twistpi.model.changes import FileCached, IndexCreated, IndexDeleted, IndexModified, LinksChanged
from twistpi.model.records import Principal

CLOSED = "corp/closed"
WHEEL, BODY = link("demo-1.0-py3-none-any.whl", b"wheel"), b"wheel"
CORE_METADATA = b"Metadata-Version: 2.1\n"
PUBLIC = link("demo-9.0.tar.gz", b"public")
PAGE = f"/{CLOSED}/+simple/demo/"


@attrs.define(eq=False)
class CountingIdentify:
    """Counts how often somebody is asked who they are."""

    real: Any
    count: int = 0

    async def principal(self, request: Request) -> Principal:
        self.count += 1
        found: Principal = await self.real.principal(request)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture
def closed(world: World) -> World:
    """``corp/closed`` may be read by alice; bob is somebody else.  The open mirror has a public namesake."""
    for name in ("corp", "alice", "bob"):
        world.add_user(name, f"{name}-password")
    add_stage(world, CLOSED, acl_read=["alice"])
    world.list_links("demo", [WHEEL], index=CLOSED)
    world.cache_file("demo", WHEEL, BODY, CLOSED)
    world.cache_metadata("demo", WHEEL, CORE_METADATA, CLOSED)
    world.list_links("demo", [PUBLIC])
    return world


def file_address(world: World) -> str:
    url: str = logged_in(world, "alice").get(PAGE, accept=JSON_PAGE).json()["files"][0]["url"]
    return urljoin(PAGE, url)


def readings(world: World) -> dict[str, tuple[str, dict[str, str]]]:
    """Everything that can be read of the index: the path and the headers."""
    file = file_address(world)
    return {
        "page": (PAGE, {"accept": JSON_PAGE}),
        "page as HTML": (PAGE, {"accept": HTML_PAGE}),
        "page for pip at the index": (f"/{CLOSED}/demo", {"user_agent": "pip/26.3"}),
        "name list": (f"/{CLOSED}/+simple/", {"accept": JSON_PAGE}),
        "name list for pip at the index": (f"/{CLOSED}/", {"user_agent": "pip/26.3", "accept": JSON_PAGE}),
        "file": (file, {}),
        "metadata": (f"{file}.metadata", {}),
        "facts about the file": (file, {"accept": "application/json"}),
        "project": (f"/{CLOSED}/demo", {"accept": "application/json"}),
        "release": (f"/{CLOSED}/demo/1.0", {"accept": "application/json"}),
        "unknown page": (f"/{CLOSED}/+simple/unknown/", {}),
        "unknown file": (f"/{CLOSED}/+f/000/0000000000000/unknown-1.0.tar.gz", {}),
        "unknown project": (f"/{CLOSED}/unknown", {"accept": "application/json"}),
    }


READINGS = ["page", "page as HTML", "page for pip at the index", "name list", "name list for pip at the index", "file",
            "metadata", "facts about the file", "project", "release"]  # fmt: skip
UNKNOWN = ["unknown page", "unknown file", "unknown project"]


def read(world: World, what: str, person: Person, method: str = "GET") -> Any:
    path, headers = readings(world)[what]
    return person.ask(method, path, accept=headers.get("accept", "*/*"), **{k: v for k, v in headers.items() if k != "accept"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("what", READINGS + UNKNOWN)
def test_R69_nobody_is_challenged_others_are_refused_and_readers_are_answered(closed: World, what: str, method: str) -> None:
    anonymous = read(closed, what, nobody(closed), method)
    assert anonymous.status == 401
    assert anonymous.headers["www-authenticate"].startswith("Basic realm=")
    wrong = read(closed, what, Person(closed, "alice:wrong"), method)
    assert (wrong.status, "www-authenticate" in wrong.headers) == (401, True)
    stranger = read(closed, what, logged_in(closed, "bob"), method)
    assert (stranger.status, "www-authenticate" in stranger.headers) == (403, False)
    for reader in ("alice", "corp", "root"):
        assert read(closed, what, logged_in(closed, reader), method).status == (404 if what in UNKNOWN else 200)
    assert read(closed, what, signed_in(closed, "bob"), method).status == 403
    assert read(closed, what, signed_in(closed, "alice"), method).status == (404 if what in UNKNOWN else 200)


def test_R69_a_refresh_needs_the_right_to_read(closed: World) -> None:
    for person, status in ((nobody(closed), 401), (logged_in(closed, "bob"), 403), (logged_in(closed, "alice"), 302)):
        assert person.ask("POST", f"{PAGE}refresh").status == status


@pytest.mark.parametrize("what", READINGS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("header", ["authorization", "x_devpi_auth"])
def test_R70_credentials_are_taken_with_the_first_request(closed: World, what: str, method: str, header: str) -> None:
    path, headers = readings(closed)[what]
    token = with_api_token(closed, "alice", "read").credentials or ""
    as_user = f"alice:{token.partition(':')[2]}"
    for credentials in ("alice:alice-password", token, as_user, logged_in(closed, "alice").credentials or ""):
        value = basic(credentials) if header == "x_devpi_auth" else f"Basic {basic(credentials)}"
        answer = Wire(closed).ask(path, method, **headers, **{header: value})
        assert answer.status == 200


def test_R70_a_token_for_something_else_opens_nothing(closed: World) -> None:
    add_stage(closed, "alice/other")
    for token in (
        with_api_token(closed, "alice", "upload"),
        with_api_token(closed, "alice", "read", index="alice/other"),
        with_api_token(closed, "bob", "read"),
    ):
        assert token.get(PAGE).status == 403
        assert token.get(f"/{MIRROR}/+simple/demo/").status == 200, "what is open stays open"
    assert with_api_token(closed, "alice", "read", index=CLOSED).get(PAGE).status == 200


@pytest.mark.parametrize("outside", ["", "https://pkgs.example/devpi"])
def test_R71_files_are_where_their_pages_are(make_world: MakeWorld, outside: str) -> None:
    world = make_world(outside_url=outside)
    world.add_user("alice")
    add_stage(world, CLOSED, acl_read=["alice"])
    add_stage(world, "alice/dev", acl_read=["alice"], bases=[CLOSED, MIRROR], mirror_whitelist=["*"])
    world.list_links("demo", [WHEEL], index=CLOSED)
    world.list_links("demo", [PUBLIC])
    alice = logged_in(world, "alice")
    page = f"{outside or 'http://devpi.example'}/alice/dev/+simple/demo/"
    links = alice.get("/alice/dev/+simple/demo/", accept=JSON_PAGE).json()["files"]
    told = [link["href"] for release in alice.get("/alice/dev/demo").json()["result"].values() for link in release["+links"]]
    assert len(links) == len(told) == 2
    for url in [*(urljoin(page, file["url"]) for file in links), *told]:
        assert urlsplit(url)[:2] == urlsplit(page)[:2]
        assert url.startswith(outside)


def test_R72_a_refusal_keeps_the_connection_and_takes_the_body(closed: World) -> None:
    wire = Wire(closed)
    for _ in range(3):
        refused = wire.ask(PAGE)
        assert refused.status == 401
        assert "connection" not in refused.headers
    body = b"x" * 100_000
    raw = wire.send(request_bytes(f"{PAGE}refresh", "POST", content_length=str(len(body))) + body)
    assert read_answer(raw).status == 401
    answer = wire.ask(PAGE, authorization=f"Basic {basic('alice:alice-password')}")
    assert answer.status == 200
    assert not wire.transport.disconnecting


@pytest.mark.parametrize("agent", ["pip/26.3", "curl/8"])
def test_R73_secrets_are_nowhere_to_be_read(tmp_path: Path, agent: str) -> None:
    log = tmp_path / "access.log"
    world = World(str(tmp_path), access_log=str(log))
    world.site.reactor = world.clock
    world.site.startFactory()
    world.add_user("alice", "alice-password")
    world.add_user("bob", "bob-password")
    add_mirror(world, "alice/veiled", mirror_url="https://me:up-secret@upstream.example/simple/", acl_read=["alice"])
    world.commit(IndexModified("alice/veiled", {"mirror_use_external_urls": True}))
    inside = attrs.evolve(WHEEL, url="https://me:up-secret@files.example/demo-1.0-py3-none-any.whl")
    world.list_links("demo", [inside], index="alice/veiled")
    raw, wire = b"", Wire(world)
    world.grow_file(inside, 5).grow(BODY, end=True)
    page = wire.ask("/alice/veiled/+simple/demo/", accept=JSON_PAGE, authorization=f"Basic {basic('alice:alice-password')}")
    file = urljoin("/alice/veiled/+simple/demo/", page.json()["files"][0]["url"])
    for credentials in ("alice:alice-password", "bob:bob-password", "alice:wrong-password"):
        for path in ("/alice/veiled/+simple/demo/", "/alice/veiled/+simple/Demo", "/alice/veiled/demo", file, f"{file}.metadata",
                     "/alice/veiled/+simple", "/alice/veiled/demo/1.0", "/alice/veiled/+simple/demo"):  # fmt: skip
            for accept in ("*/*", "application/json", JSON_PAGE):
                headers = {"accept": accept, "user_agent": agent, "authorization": f"Basic {basic(credentials)}"}
                raw += wire.send(request_bytes(path, **headers))
    world.site.stopFactory()
    raw += log.read_bytes()
    for secret in (b"up-secret", b"-password", basic("alice:alice-password").encode()):
        assert secret not in raw
    world.close()


@pytest.mark.parametrize("agent", ["pip/26.3", "uv/0.13"])
@pytest.mark.parametrize("pair", [("+simple", "+simple/"), ("", "/"), ("+simple/demo", "+simple/demo/"), ("demo", "demo/")])
def test_R74_with_or_without_a_slash_the_challenge_and_the_answer_are_the_same(
    closed: World, agent: str, pair: tuple[str, str]
) -> None:
    paths = [f"/{CLOSED}{one}" if one in ("", "/") else f"/{CLOSED}/{one}" for one in pair]
    headers = {"user_agent": agent, "accept": JSON_PAGE}
    refused = [Wire(closed).ask(path, **headers) for path in paths]
    assert {answer.status for answer in refused} == {401}
    assert len({answer.headers["www-authenticate"] for answer in refused}) == 1
    login = f"Basic {basic('alice:alice-password')}"
    answers = [Wire(closed).ask(path, **headers, authorization=login) for path in paths]
    assert {answer.status for answer in answers} == {200}
    if "demo" in pair[0]:
        targets = [urljoin(path, answer.json()["files"][0]["url"]) for path, answer in zip(paths, answers, strict=True)]
        assert len(set(targets)) == 1


@pytest.mark.parametrize("what", READINGS)
def test_what_is_not_open_to_everybody_is_for_no_shared_cache(closed: World, what: str) -> None:
    answer = read(closed, what, logged_in(closed, "alice"))
    assert "private" in answer.headers["cache-control"]
    assert "public" not in answer.headers["cache-control"]
    assert {"Authorization", "X-Devpi-Auth", "Cookie"} <= set(answer.headers["vary"].replace(",", "").split())
    tag = answer.headers.get("etag")
    if tag is not None:
        path, headers = readings(closed)[what]
        headers = {"accept": "*/*", **headers, "if_none_match": tag}
        unchanged = logged_in(closed, "alice").get(path, **headers)
        assert unchanged.status == 304
        assert unchanged.headers["cache-control"] == answer.headers["cache-control"]
        assert unchanged.headers["vary"] == answer.headers["vary"]
        assert Wire(closed).ask(path, **headers).status == 401, "a tag is no key"


@pytest.mark.parametrize("what", READINGS)
def test_nothing_of_it_is_learnt_by_the_fast_way(closed: World, what: str) -> None:
    path, headers = readings(closed)[what]
    login = f"Basic {basic('alice:alice-password')}"
    for _ in range(3):
        assert Wire(closed).ask(path, **headers, authorization=login).status == 200
        assert signed_in(closed, "alice").get(path, **{"accept": "*/*", **headers}).status == 200
        assert Wire(closed).ask(path, **headers).status == 401
    assert not closed.components.ready.files
    assert not closed.components.ready.pages


def test_pages_of_those_who_see_the_same_are_shared_and_of_others_not(closed: World) -> None:
    logged_in(closed, "alice").get(PAGE)
    kept = len(closed.components.ready.page_cache)
    logged_in(closed, "root").get(PAGE)
    assert len(closed.components.ready.page_cache) == kept
    add_stage(closed, "alice/dev", bases=[CLOSED])
    closed.list_links("demo", [link("demo-3.0.tar.gz")], index="alice/dev")
    path = "/alice/dev/+simple/demo/"
    for _ in range(2):
        assert b"demo-1.0" in logged_in(closed, "alice").get(path).body
        assert b"demo-1.0" not in logged_in(closed, "bob").get(path).body
        assert b"demo-1.0" not in Wire(closed).ask(path).body


# Who has to say who they are ---------------------------------------------------------------------------------------


def test_nobody_is_asked_who_they_are_where_all_is_open(closed: World) -> None:
    add_stage(closed, "alice/dev", bases=[MIRROR], acl_read=[":ANONYMOUS:", "alice"])
    path = closed.cache_file("demo", PUBLIC, b"public")
    counting = closed.components.access.authenticator = CountingIdentify(closed.authenticator)  # type: ignore[assignment]
    login = f"Basic {basic('alice:wrong')}"
    for asked in (f"/{MIRROR}/+simple/demo/", "/alice/dev/+simple/demo/", path, "/alice/dev/demo", "/alice/dev/+simple/demo"):
        for headers in ({}, {"user_agent": "pip/26.3"}, {"accept": "application/json"}):
            assert Wire(closed).ask(asked, **headers, authorization=login).status in (200, 301, 302)
    assert counting.count == 0
    closed.commit(IndexModified("alice/dev", {"acl_read": ["alice"]}))
    assert Wire(closed).ask("/alice/dev/+simple/demo/", authorization=login).status == 401
    assert counting.count == 1


def test_a_warm_page_of_an_open_index_reads_nothing_from_the_view(closed: World) -> None:
    add_stage(closed, "alice/dev", bases=[MIRROR])
    wire = Wire(closed, fast=False)
    path = "/alice/dev/+simple/demo/"
    warm = wire.ask(path)
    closed.components.access.readers = None  # type: ignore[assignment]
    assert wire.ask(path).raw == warm.raw
    assert Wire(closed).ask(path).raw == warm.raw


# What inherits from it ---------------------------------------------------------------------------------------------


@pytest.fixture
def dev(closed: World) -> World:
    """``bob/dev`` is open, and inherits from the closed index and from the mirror."""
    add_stage(closed, "bob/dev", bases=[CLOSED, MIRROR])
    return closed


ASKED = [("+simple/{}/", JSON_PAGE), ("+simple/{}/", HTML_PAGE), ("{}", "application/json"), ("{}/1.0", "application/json")]


@pytest.mark.parametrize(("path", "accept"), ASKED)
def test_an_index_that_inherits_from_it_does_not_tell_which_names_it_has(dev: World, path: str, accept: str) -> None:
    dev.list_links("public", [link("public-1.0.tar.gz")])
    for person, status in ((nobody(dev), 401), (logged_in(dev, "bob"), 403)):
        answers = [person.get(f"/bob/dev/{path.format(name)}", accept=accept) for name in ("demo", "public", "unknown")]
        assert {answer.status for answer in answers} == {status}
        assert len({answer.content for answer in answers}) == 1
        assert CLOSED.encode() not in answers[0].content
    assert dev.mirror.asked == [], "no name is told to an upstream"
    alice = logged_in(dev, "alice")
    assert [alice.get(f"/bob/dev/{path.format(name)}", accept=accept).status for name in ("demo", "public", "unknown")] == [
        200,
        200,
        404,
    ]


def test_a_hidden_private_name_silences_mirrors_for_those_who_see_it(dev: World) -> None:
    page = logged_in(dev, "alice").get("/bob/dev/+simple/demo/", accept=JSON_PAGE).json()
    assert [file["filename"] for file in page["files"]] == [WHEEL.filename]


def test_what_the_index_has_itself_is_answered_to_everybody_without_the_hidden(dev: World) -> None:
    dev.list_links("demo", [link("demo-1.0-py3-none-any.whl", b"other"), link("demo-3.0.tar.gz")], index="bob/dev")
    for person in (nobody(dev), logged_in(dev, "bob")):
        page = person.get("/bob/dev/+simple/demo/", accept=JSON_PAGE)
        assert [file["filename"] for file in page.json()["files"]] == ["demo-1.0-py3-none-any.whl", "demo-3.0.tar.gz"]
        assert "private" in page.headers["cache-control"], "others see more"
        data = person.get("/bob/dev/demo").json()["result"]
        assert "+shadowing" not in data["1.0"]
    alice = logged_in(dev, "alice")
    assert (
        alice.get("/bob/dev/demo")
        .json()["result"]["1.0"]["+shadowing"][0]["+links"][0]["href"]
        .startswith(f"http://devpi.example/{CLOSED}/")
    )


def test_own_releases_alone_are_told_whatever_is_hidden_but_not_whether_others_have_some(dev: World) -> None:
    dev.list_links("own", [link("own-1.0.tar.gz")], index="bob/dev")
    for person, status in ((nobody(dev), 401), (logged_in(dev, "bob"), 403)):
        assert list(person.get("/bob/dev/own?ignore_bases").json()["result"]) == ["1.0"]
        assert [person.get(f"/bob/dev/{name}?ignore_bases").status for name in ("demo", "unknown")] == [status] * 2
    assert logged_in(dev, "alice").get("/bob/dev/demo?ignore_bases").json()["result"] == {}


def test_a_name_list_names_what_the_asker_may_see(dev: World) -> None:
    dev.commit(IndexModified(MIRROR, {"mirror_no_project_list": True}))
    dev.commit(LinksChanged(CLOSED, "secret-plans"), LinksChanged("bob/dev", "own"))

    def names(person: Person) -> list[str]:
        answer = person.get("/bob/dev/+simple/", accept=JSON_PAGE)
        return [project["name"] for project in answer.json()["projects"]]

    assert names(nobody(dev)) == names(logged_in(dev, "bob")) == ["demo", "own"]
    assert names(logged_in(dev, "alice")) == ["demo", "own", "secret-plans"]


@pytest.mark.parametrize("kind", ["stage", "mirror"])
def test_files_of_a_closed_base_are_below_the_index_itself(dev: World, kind: str) -> None:
    if kind == "mirror":
        add_mirror(dev, "corp/mirror", acl_read=["alice"])
        dev.list_links("other", [WHEEL], index="corp/mirror")
        dev.cache_file("other", WHEEL, BODY, "corp/mirror")
        dev.commit(IndexModified("bob/dev", {"bases": ["corp/mirror"]}))
    project, owner = ("demo", CLOSED) if kind == "stage" else ("other", "corp/mirror")
    alice, page = logged_in(dev, "alice"), f"/bob/dev/+simple/{project}/"
    (url,) = [file["url"] for file in alice.get(page, accept=JSON_PAGE).json()["files"]]
    path = urljoin(page, url)
    assert path.startswith("/bob/dev/+f/")
    for method in ("GET", "HEAD"):
        assert alice.ask(method, path, accept="*/*").body == (BODY if method == "GET" else b"")
        anonymous = nobody(dev).ask(method, path, accept="*/*")
        assert (anonymous.status, "www-authenticate" in anonymous.headers) == (401, True)
        assert logged_in(dev, "bob").ask(method, path, accept="*/*").status == 403
    assert alice.get(path, accept="application/json").json()["result"]["project"] == project
    assert alice.get(path, accept="*/*").headers["cache-control"].endswith("private")
    assert alice.get(path.replace("/bob/dev/", f"/{owner}/"), accept="*/*").body == BODY
    dev.commit(IndexModified(owner, {"acl_read": [":ANONYMOUS:"]}))
    assert nobody(dev).get(path, accept="*/*").body == BODY, "lock files hold the address"
    assert urljoin(page, nobody(dev).get(page, accept=JSON_PAGE).json()["files"][0]["url"]).startswith(f"/{owner}/")


def test_what_no_index_has_is_not_found_only_by_who_sees_all(dev: World) -> None:
    path = "/bob/dev/+f/000/0000000000000/unknown-1.0.tar.gz"
    told = [person.get(path, accept="*/*").status for person in (logged_in(dev, "alice"), logged_in(dev, "bob"), nobody(dev))]
    assert told == [404, 403, 401]
    assert logged_in(dev, "alice").get("/bob/dev/+f/000/0000000000000/unknown-1.0-py3-none-any.whl.metadata").status == 404


# Changes -----------------------------------------------------------------------------------------------------------


def _close(world: World) -> None:
    world.commit(IndexModified(MIRROR, {"acl_read": ["alice"]}))


def _close_by_creating(world: World) -> None:
    world.commit(IndexDeleted(MIRROR), IndexCreated(MIRROR, {"type": "mirror", "acl_read": []}))


@pytest.mark.parametrize("change", [_close, _close_by_creating, lambda world: world.commit(IndexDeleted(MIRROR))])
@pytest.mark.parametrize("fast", [True, False])
def test_a_door_that_closes_is_closed_at_once(world: World, change: Callable[[World], None], *, fast: bool) -> None:
    world.add_user("alice")
    add_stage(world, "alice/dev", bases=[MIRROR])
    world.list_links("demo", [PUBLIC])
    paths = [world.cache_file("demo", PUBLIC, b"public"), f"/{MIRROR}/+simple/demo/", "/alice/dev/+simple/demo/"]
    wire = Wire(world, fast=fast)
    for path in paths * 2:
        assert wire.ask(path).status == 200
    change(world)
    assert all(wire.ask(path).status in (401, 404) for path in paths)


def test_a_base_that_comes_to_be_counts_at_once(world: World) -> None:
    add_stage(world, "alice/dev", bases=["corp/later", MIRROR])
    world.list_links("demo", [PUBLIC])
    wire = Wire(world)
    for _ in range(2):
        assert b"demo-9.0" in wire.ask("/alice/dev/+simple/demo/").body
    add_stage(world, "corp/later")
    world.list_links("demo", [WHEEL], index="corp/later")
    assert b"demo-9.0" not in wire.ask("/alice/dev/+simple/demo/").body
    world.commit(IndexModified("corp/later", {"acl_read": []}))
    assert wire.ask("/alice/dev/+simple/demo/").status == 401
    world.commit(IndexDeleted("corp/later"))
    assert b"demo-9.0" in wire.ask("/alice/dev/+simple/demo/").body


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (IndexModified(MIRROR, {"acl_read": []}), 401),
        (IndexModified("alice/dev", {"acl_read": []}), 401),
        (IndexModified("alice/dev", {"bases": []}), 404),
        (IndexDeleted("alice/dev"), 404),
    ],
)
def test_what_changes_while_an_upstream_is_asked_counts(world: World, change: Any, status: int) -> None:
    add_stage(world, "alice/dev", bases=[MIRROR])
    world.list_links("demo", [PUBLIC])
    world.mirror.gate = Deferred()
    wire = Wire(world)
    assert wire.send(request_bytes("/alice/dev/+simple/demo/")) == b""
    world.commit(change)
    world.mirror.gate.callback(None)
    assert read_answer(bytes(wire.transport.value())).status == status
    assert not world.components.ready.pages


def test_a_file_that_is_cached_while_its_index_closes_is_not_learnt(world: World) -> None:
    world.list_links("demo", [PUBLIC])
    path = world.cache_file("demo", PUBLIC, b"public")
    finding: Deferred[None] = Deferred()

    class SlowMirror:
        async def find_file(self, *arguments: Any) -> Any:
            await finding
            return await world.mirror.find_file(*arguments)

    world.components.mirrors.pages = SlowMirror()  # type: ignore[assignment]
    wire = Wire(world)
    assert wire.send(request_bytes(path)) == b""
    world.commit(IndexModified(MIRROR, {"acl_read": []}), FileCached(MIRROR, "demo", PUBLIC.filename, PUBLIC.sha256 or "", 6))
    finding.callback(None)
    answer = read_answer(bytes(wire.transport.value()))
    assert "public" not in answer.headers["cache-control"]
    assert not world.components.ready.files
