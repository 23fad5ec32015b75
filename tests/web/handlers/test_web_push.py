"""Pushes over HTTP: from index to index in one entry, from mirrors, and to other servers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from tests.archives.made_archives import zip_of
from tests.fakes.wheels import make_wheel, wheel_name
from tests.web.web_asking import Person, add_mirror, add_stage, logged_in, nobody, serial_of, with_api_token
from tests.web.web_uploads import DEV, NAME, PROD, SDIST, WHEEL, files, path_of, release, sdist, upload, wheel, with_stages
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, World, link, sha256
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.mirror.download import KeptFile
from twistpi.model.changes import IndexModified
from twistpi.model.errors import UnknownFile, UpstreamFailed
from twistpi.model.records import Index, KnownFile
from twistpi.model.releases import FileUploaded, ProjectMarked

SAME = {"name": NAME, "version": "1.0"}


@pytest.fixture
def alice(world: World) -> Person:
    """Alice with a release that has everything: two files, a test result of the sdist, and documentation."""
    alice = with_stages(world)
    add_stage(world, "alice/tgt")
    upload(alice, DEV, WHEEL, wheel(), name="Demo.Pkg", summary="the best")
    upload(alice, DEV, SDIST, sdist(), name="Demo.Pkg", summary="the best")
    upload(alice, DEV, "docs.zip", zip_of({"index.html": b""}), action="doc_upload")
    assert alice.ask("POST", path_of(world, DEV, SDIST), {"testenvs": {}}).status == 200
    return alice


def push(person: Person, source: str = DEV, target: str | None = "alice/tgt", **more: Any) -> Any:
    body = {**SAME, **({} if target is None else {"targetindex": target}), **more}
    return person.ask("PUSH", f"/{source}", body)


def blobs(world: World) -> list[tuple[BlobAddress, int]]:
    return list(world.blobs.walk())


def leftovers(world: World) -> list[str]:
    return os.listdir(Path(world.folder) / "incoming")


@pytest.mark.parametrize("method", ["PUSH", "POST"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_what_is_wrong_with_a_push_is_told_as_json(alice: Person, method: str, accept: str, kind: str) -> None:
    """The type of forms is what programs say that do not say any."""
    for missing in ({"targetindex": "alice/tgt"}, {"posturl": "http://localhost:1/"}):
        answer = alice.ask(method, f"/{DEV}", {"name": "nope", "version": "9", **missing}, accept=accept, content_type=kind)
        assert (answer.status, answer.json()) == (400, {"message": f"there are no files for nope 9 on stage {DEV}"})


# Inside ------------------------------------------------------------------------------------------------------------


def test_a_push_is_one_entry_and_moves_no_byte(world: World, alice: Person) -> None:
    serial, before = serial_of(world), blobs(world)
    answer = push(alice)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    sdist_path, wheel_path = path_of(world, "alice/tgt", SDIST), path_of(world, "alice/tgt", WHEEL)
    assert told["type"] == "actionlog"
    register, store_wheel, store_sdist, store_result, store_docs = told["result"]
    assert register == [200, "register", "Demo.Pkg", "1.0", "->", "alice/tgt"]
    assert store_sdist == [200, "store_releasefile", sdist_path[1:]]
    assert store_result[:2] == [200, "store_toxresult"]
    assert store_result[2].startswith(f"{sdist_path[1:]}.toxresult-")
    assert store_wheel == [200, "store_releasefile", wheel_path[1:]]
    assert store_docs == [200, "store_doczip", "Demo.Pkg", "1.0", "->", "alice/tgt"]
    assert serial_of(world) == serial + 1
    assert blobs(world) == before
    assert world.entries[-1][0] == "alice"


def test_what_was_pushed_is_there_with_all_that_belongs_to_it(world: World, alice: Person) -> None:
    push(alice)
    source, target = (release(alice, index) for index in (DEV, "alice/tgt"))
    assert target["summary"] == "the best"
    assert target["name"] == "Demo.Pkg"
    rels = [one["rel"] for one in target["+links"]]
    assert sorted(rels) == ["doczip", "releasefile", "releasefile", "toxresult"]
    by_name = {one["href"].rpartition("/")[2]: one for one in target["+links"]}
    for one in source["+links"]:
        there = by_name[one["href"].rpartition("/")[2]]
        assert there["hashes"] == one["hashes"]
        assert [line["what"] for line in there["log"]] == ["upload", "push"]
        assert there["log"][-1]["src"] == DEV
        assert there["log"][-1]["dst"] == "alice/tgt"
        path = there["href"].removeprefix("http://devpi.example")
        assert Wire(world).ask(path).body == Wire(world).ask(one["href"].removeprefix("http://devpi.example")).body
    page = files(world, "alice/tgt")
    assert page[WHEEL]["core-metadata"] == files(world, DEV)[WHEEL]["core-metadata"]
    assert page[WHEEL]["upload-time"] == files(world, DEV)[WHEEL]["upload-time"]
    assert Wire(world).ask(path_of(world, "alice/tgt", WHEEL) + ".metadata").status == 200


def test_the_same_again_changes_nothing(world: World, alice: Person) -> None:
    first = push(alice).json()
    serial = serial_of(world)
    assert push(alice).json() == first
    assert serial_of(world) == serial


@pytest.mark.parametrize(("selected", "kinds"), [
    ({"no_docs": True}, {"register", "store_releasefile", "store_toxresult"}),
    ({"only_docs": True}, {"register", "store_doczip"}),
])  # fmt: skip
def test_documentation_may_be_left_out_or_go_alone(
    world: World, alice: Person, selected: dict[str, Any], kinds: set[str]
) -> None:
    told = push(alice, **selected).json()["result"]
    assert {line[1] for line in told} == kinds
    assert (Wire(world).ask(f"/alice/tgt/{NAME}/1.0/+doc/index.html").body == b"No documentation available.\n") is (
        "store_doczip" not in kinds
    )


@pytest.mark.parametrize("method", ["PUSH", "POST"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", ["demo-pkg", "Demo.Pkg", "demo_pkg"])
def test_either_method_slash_and_spelling_is_taken(world: World, alice: Person, method: str, slash: str, name: str) -> None:
    answer = alice.ask(method, f"/{DEV}{slash}", {**SAME, "name": name, "targetindex": "alice/tgt"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
def test_the_content_type_does_not_matter(world: World, alice: Person, kind: str) -> None:
    body = orjson.dumps({**SAME, "targetindex": "alice/tgt"})
    assert alice.ask("PUSH", f"/{DEV}", body, content_type=kind).status == 200


def test_a_release_of_a_base_is_not_pushed(world: World, alice: Person) -> None:
    add_stage(world, "alice/above", bases=[DEV])
    answer = push(alice, "alice/above")
    assert (answer.status, answer.json()["message"]) == (400, f"there are no files for {NAME} 1.0 on stage alice/above")


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "body", "status", "message"), [
    (DEV, {"targetindex": "alice/tgt", "version": "9.9"}, 400, f"there are no files for {NAME} 9.9 on stage {DEV}"),
    (DEV, {"targetindex": "alice/tgt", "name": "nope"}, 400, f"there are no files for nope 1.0 on stage {DEV}"),
    (DEV, {"targetindex": "alicetgt"}, 400, "targetindex not in format user/index"),
    (DEV, {"targetindex": ["alice/tgt"]}, 400, "targetindex not in format user/index"),
    (DEV, {"targetindex": "alice/none"}, 404, "The stage alice/none could not be found."),
    (DEV, {"targetindex": MIRROR}, 401, f"user 'alice' cannot upload to '{MIRROR}'"),
    (DEV, {"targetindex": "bob/b"}, 401, "user 'alice' cannot upload to 'bob/b'"),
    (DEV, {"targetindex": "alice/tgt", "foo": 1, "bar": 2}, 400, "unknown additional options: bar, foo"),
    (DEV, {"targetindex": "alice/tgt", "no_docs": True, "only_docs": True}, 400, "can't use 'no_docs' and 'only_docs' together"),
    (DEV, {"targetindex": "alice/tgt", "version": None}, 400, "version must be given as text"),
    ("alice/none", {"targetindex": "alice/tgt"}, 404, "The stage alice/none could not be found."),
])  # fmt: skip
def test_refusals_are_told_in_json(
    world: World, alice: Person, source: str, body: dict[str, Any], status: int, message: str
) -> None:
    world.add_user("bob", None)
    add_stage(world, "bob/b")
    serial = serial_of(world)
    answer = alice.ask("PUSH", f"/{source}", {**SAME, **body}, accept="*/*")
    assert (answer.status, answer.json()) == (status, {"message": message})
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert serial_of(world) == serial


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"name": 1, "version": "1"}', b"\xff"])
def test_what_is_no_push_is_a_bad_request(world: World, alice: Person, body: bytes) -> None:
    assert alice.ask("PUSH", f"/{DEV}", body).status == 400


def test_who_is_not_logged_in_cannot_push_unless_everybody_may_upload(world: World, alice: Person) -> None:
    answer = push(nobody(world))
    assert (answer.status, answer.json()["message"]) == (401, "user None cannot upload to 'alice/tgt'")
    add_stage(world, "alice/open", acl_upload=[":ANONYMOUS:"])
    assert push(nobody(world), target="alice/open").status == 200
    assert release(alice, "alice/open")["+links"][0]["log"][-1]["who"] is None


def test_who_may_not_read_the_source_cannot_push_from_it(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    add_stage(world, "bob/b")
    world.commit(IndexModified(DEV, {"acl_read": ["alice"]}))
    assert push(nobody(world)).status == 401
    answer = push(logged_in(world, "bob"), target="bob/b")
    assert (answer.status, answer.json()["message"]) == (403, f"no permission to read index {DEV}")
    assert push(alice).status == 200


def test_an_api_token_pushes_where_it_may_upload(world: World, alice: Person) -> None:
    good = with_api_token(world, "alice", "upload", index="alice/tgt")
    assert push(good).status == 200
    assert push(with_api_token(world, "alice", "read")).status == 401
    assert push(with_api_token(world, "alice", "upload", index=DEV)).status == 401


def test_nothing_of_a_release_is_pushed_when_a_part_of_it_cannot_be(world: World, alice: Person) -> None:
    assert upload(alice, PROD, WHEEL, wheel()).status == 200
    serial = serial_of(world)
    answer = push(alice, target=PROD)
    assert (answer.status, answer.json()["message"]) == (409, f"{WHEEL} already exists in non-volatile index")
    assert serial_of(world) == serial
    assert list(files(world, PROD)) == [WHEEL]


def test_other_bytes_are_replaced_on_a_volatile_index(world: World, alice: Person) -> None:
    upload(alice, "alice/tgt", WHEEL, wheel(payload=b"older"))
    former = path_of(world, "alice/tgt", WHEEL)
    assert push(alice).status == 200
    assert Wire(world).ask(former).status == 410
    assert Wire(world).ask(path_of(world, "alice/tgt", WHEEL)).body == wheel()


def test_a_registered_release_without_files_has_nothing_to_push(world: World, alice: Person) -> None:
    body = b":action=submit&name=reg-only&version=1.0"
    alice.ask("POST", f"/{DEV}", body, content_type="application/x-www-form-urlencoded")
    answer = push(alice, name="reg-only")
    assert (answer.status, answer.json()["message"]) == (404, "no release/files found for reg-only 1.0")


@pytest.mark.parametrize(("marked", "status"), [(DEV, "quarantined"), ("alice/tgt", "archived"), ("alice/tgt", "quarantined")])
def test_a_closed_project_is_not_pushed(world: World, alice: Person, marked: str, status: str) -> None:
    push(alice)
    world.commit(ProjectMarked(marked, NAME, status))
    assert push(alice).status == 403


# From mirrors ------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Upstream:
    """Downloads that are there as soon as they are asked for."""

    world: World
    bodies: dict[str, bytes]
    opened: list[str] = attrs.field(factory=list)
    wanted: Any = None

    def open(self, index: Index, project: str, known: KnownFile) -> Upstream:
        self.opened.append(known.link.filename)
        self.wanted = (index, project, known)
        return self

    async def finished(self) -> KeptFile:
        index, project, known = self.wanted
        body = self.bodies.get(known.link.filename)
        if body is None:
            raise UnknownFile(index.name, known.path)
        self.world.cache_file(project, known.link, body, index.name)
        address = blob_address(sha256(body), known.link.filename)
        self.world.storage.blocking(self.world.storage.bring)(address)
        return KeptFile(address, sha256(body), len(body))


UP_WHEEL, UP_SDIST = wheel_name("up", "2.0"), "up-2.0.tar.gz"
UP = {"name": "up", "version": "2.0"}


def with_upstream(world: World, *, hashless: bool = False) -> Upstream:
    bodies = {UP_WHEEL: make_wheel("up", "2.0"), UP_SDIST: sdist("2.0", name="up")}
    upstream = Upstream(world, bodies)
    world.components.mirrors.files = upstream  # type: ignore[assignment]
    links = [link(name, body, requires_python=">=3.8", hashes={} if hashless else {"sha256": sha256(body)})
             for name, body in bodies.items()]  # fmt: skip
    world.list_links("up", links)
    return upstream


def test_what_a_mirror_has_not_got_is_fetched_first(world: World, alice: Person) -> None:
    upstream = with_upstream(world)
    answer = push(alice, MIRROR, **UP)
    assert answer.status == 200
    assert upstream.opened == [UP_WHEEL, UP_SDIST]
    assert [line[1] for line in answer.json()["result"]] == ["register", "store_releasefile", "store_releasefile"]
    page = files(world, "alice/tgt", "up")
    assert page[UP_WHEEL]["hashes"]["sha256"] == sha256(upstream.bodies[UP_WHEEL])
    assert page[UP_WHEEL]["requires-python"] == ">=3.8"
    assert Wire(world).ask(path_of(world, "alice/tgt", UP_WHEEL, "up")).body == upstream.bodies[UP_WHEEL]
    uploads = [change for _by, changes in world.entries for change in changes if isinstance(change, FileUploaded)]
    assert [change.pushed_from for change in uploads[-2:]] == [MIRROR, MIRROR]
    assert world.entries[-1][1][-2:] == tuple(uploads[-2:])
    push(alice, MIRROR, target="alice/tgt", **UP)
    assert len(upstream.opened) == 2


def test_the_page_of_a_mirror_is_asked_for(world: World, alice: Person) -> None:
    push(alice, MIRROR, **UP)
    assert (MIRROR, "up", False) in world.mirror.asked


@pytest.mark.directory("removes a file from the directory, which a node brings from the bucket")
def test_a_file_that_was_removed_from_the_disk_is_fetched_again(world: World, alice: Person) -> None:
    upstream = with_upstream(world)
    for name, body in upstream.bodies.items():
        world.cache_file("up", link(name, body), body)
    world.blobs.remove(blob_address(sha256(upstream.bodies[UP_WHEEL]), UP_WHEEL))
    assert push(alice, MIRROR, **UP).status == 200
    assert upstream.opened == [UP_WHEEL]


def test_metadata_goes_along_where_the_mirror_lists_no_digests(world: World, alice: Person) -> None:
    upstream = with_upstream(world, hashless=True)
    world.components.mirrors.metadata = HashlessMetadata(world)  # type: ignore[assignment]
    assert push(alice, MIRROR, **UP).status == 200
    page = files(world, "alice/tgt", "up")
    assert page[UP_WHEEL]["core-metadata"] == {"sha256": sha256(METADATA)}
    path = path_of(world, "alice/tgt", UP_WHEEL, "up")
    assert path.split("/")[4:6] == [sha256(upstream.bodies[UP_WHEEL])[:3], sha256(upstream.bodies[UP_WHEEL])[3:16]]
    assert Wire(world).ask(f"{path}.metadata").body == METADATA


METADATA = b"Metadata-Version: 2.1\nName: up\nVersion: 2.0\n"


@attrs.define
class HashlessMetadata:
    """Keeps metadata under its own digest, as is done for wheels without one."""

    world: World

    async def metadata(self, index: Index, project: str, known: KnownFile) -> BlobAddress:
        address = metadata_address(blob_address(hashlib.sha256(METADATA).hexdigest(), known.link.filename))
        with self.world.blobs.incoming() as incoming:
            incoming.write(METADATA)
            self.world.blobs.keep(incoming, address, hashlib.sha256(METADATA).hexdigest())
        return address


def test_what_an_upstream_cannot_give_is_a_bad_gateway_and_changes_nothing(world: World, alice: Person) -> None:
    upstream = with_upstream(world)
    del upstream.bodies[UP_WHEEL]
    answer = push(alice, MIRROR, **UP)
    assert answer.status == 502
    assert UP_WHEEL in answer.json()["message"]
    assert Wire(world).ask("/alice/tgt/+simple/up/").status == 404
    world.mirror.failure = UpstreamFailed(MIRROR, "up", "it answered 500")
    assert push(alice, MIRROR, **UP).status == 502


def test_nothing_is_fetched_for_a_push_that_is_refused(world: World, alice: Person) -> None:
    upstream = with_upstream(world)
    assert push(nobody(world), MIRROR, **UP).status == 401
    assert push(alice, MIRROR, target=MIRROR, **UP).status == 401
    assert push(alice, MIRROR, **{**UP, "version": "9"}).status == 400
    upload(alice, PROD, UP_SDIST, sdist("2.0", b"other", name="up"), name="up", version="2.0")
    body = sdist("2.0", name="up")
    world.cache_file("up", link(UP_SDIST, body), body)
    assert push(alice, MIRROR, target=PROD, **UP).status == 409
    assert upstream.opened == []


def test_a_mirror_that_nobody_may_read_gives_nothing(world: World, alice: Person) -> None:
    with_upstream(world)
    add_mirror(world, "bob/private", acl_read=["bob"])
    assert push(alice, "bob/private", **UP).status == 403


# Outside -----------------------------------------------------------------------------------------------------------

OUTSIDE = {"posturl": "https://up.example/legacy/", "username": "jane", "password": "secret"}


def test_a_push_to_another_server_hands_over_the_release(world: World, alice: Person) -> None:
    serial = serial_of(world)
    answer = push(alice, target=None, **OUTSIDE, register_project=True, ignored="yes")
    assert (answer.status, answer.json()) == (200, {"type": "actionlog", "result": world.pusher.lines})
    ((handed, pushed, docs, repository, register),) = world.pusher.pushed
    assert handed.index == DEV
    assert [file.known.link.filename for file in pushed] == [WHEEL, SDIST]
    assert docs.kind == "doczip"
    assert (repository.url, register) == ("https://up.example/legacy/", True)
    assert serial_of(world) == serial


@pytest.mark.parametrize(("lines", "status"), [
    ([[200, "upload", "a", ""], [201, "upload", "b", ""]], 200),
    ([[403, "upload", "a", "no"], [200, "upload", "b", ""]], 200),
    ([[200, "upload", "a", ""], [403, "upload", "b", "no"]], 502),
    ([[200, "upload", "a", ""], [-1, "docfile", "b", "nobody answers"]], 502),
    ([[403, "register", "a", "1", "no"]], 502),
])  # fmt: skip
def test_the_last_line_decides_the_status(world: World, alice: Person, lines: list[list[Any]], status: int) -> None:
    world.pusher.lines = lines
    answer = push(alice, target=None, **OUTSIDE)
    assert (answer.status, answer.json()) == (status, {"type": "actionlog", "result": lines})


def test_a_login_is_needed_to_push_to_another_server(world: World, alice: Person) -> None:
    answer = push(nobody(world), target=None, **OUTSIDE)
    assert answer.status == 401
    assert "www-authenticate" in answer.headers
    token = with_api_token(world, "alice", "read", "upload")
    answer = push(token, target=None, **OUTSIDE)
    assert (answer.status, answer.json()["message"]) == (403, "no permission to push to another server with an API token")
    assert world.pusher.pushed == []


def test_everybody_with_a_login_pushes_what_they_may_read(world: World, alice: Person) -> None:
    world.add_user("bob", None)
    bob = logged_in(world, "bob")
    assert push(bob, target=None, **OUTSIDE).status == 200
    world.commit(IndexModified(DEV, {"acl_read": ["alice"]}))
    assert push(bob, target=None, **OUTSIDE).status == 403
    assert len(world.pusher.pushed) == 1


@pytest.mark.parametrize(("body", "status", "message"), [
    ({"posturl": "ftp://up.example/"}, 400, "posturl must be an http or https address"),
    ({"posturl": None}, 400, "posturl must be given as text"),
    ({"version": "9.9"}, 400, f"there are no files for {NAME} 9.9 on stage {DEV}"),
    ({"no_docs": True, "only_docs": True}, 400, "can't use 'no_docs' and 'only_docs' together"),
])  # fmt: skip
def test_what_cannot_be_pushed_to_another_server(
    world: World, alice: Person, body: dict[str, Any], status: int, message: str
) -> None:
    answer = push(alice, target=None, **{**OUTSIDE, **body})
    assert (answer.status, answer.json()["message"]) == (status, message)
    assert world.pusher.pushed == []


def test_files_of_a_mirror_are_fetched_before_they_go_elsewhere(world: World, alice: Person) -> None:
    upstream = with_upstream(world)
    assert push(alice, MIRROR, target=None, **OUTSIDE, **UP).status == 200
    assert upstream.opened == [UP_WHEEL, UP_SDIST]
    ((handed, pushed, docs, _repository, _register),) = world.pusher.pushed
    assert [file.known.sha256 for file in pushed] == [sha256(upstream.bodies[name]) for name in (UP_WHEEL, UP_SDIST)]
    assert (handed.index, docs) == (MIRROR, None)


def test_the_password_is_in_no_answer(world: World, alice: Person) -> None:
    assert b"secret" not in push(alice, target=None, **OUTSIDE).raw
    assert b"secret" not in push(alice, target=None, **{**OUTSIDE, "posturl": "ftp://u:secret@x/"}).raw


def test_nothing_is_left_on_its_way(world: World, alice: Person) -> None:
    with_upstream(world)
    push(alice)
    push(alice, MIRROR, **UP)
    assert leftovers(world) == []
