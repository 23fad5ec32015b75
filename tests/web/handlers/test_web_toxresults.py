"""Test results over HTTP: posted to what was tested, and served as files of their index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from twisted.internet.defer import Deferred

from tests.archives.made_archives import zip_of
from tests.web.web_asking import Person, add_mirror, add_stage, ask_raw, logged_in, nobody, serial_of, with_api_token
from tests.web.web_uploads import DEV, NAME, SDIST, WHEEL, path_of, release, sdist, upload, wheel, with_stages
from tests.web.web_wire import Wire, read_answer
from tests.web.web_world import MIRROR, World, at_once, link, sha256
from twistpi.model.changes import IndexModified
from twistpi.model.releases import FileRemoved, ProjectMarked
from twistpi.web.receiving.streamed_body import LARGEST_RESULT, is_result_path

RESULT = b'{ "testenvs": {"py311": {}},\n "host": "a" }\n'
NOT_ALLOWED = "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload."


@pytest.fixture
def alice(world: World) -> Person:
    alice = with_stages(world)
    upload(alice, DEV, WHEEL, wheel())
    upload(alice, DEV, SDIST, sdist())
    return alice


@pytest.fixture
def tested(world: World, alice: Person) -> str:
    """The path of the file that was tested."""
    return path_of(world, DEV, SDIST)


def leftovers(world: World) -> list[str]:
    return os.listdir(Path(world.folder) / "incoming")


def results(person: Person) -> list[Any]:
    return [one for one in release(person, DEV)["+links"] if one["rel"] == "toxresult"]


# Posting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["nobody", "alice"])
def test_a_test_result_is_kept_byte_for_byte(world: World, alice: Person, tested: str, who: str) -> None:
    person = alice if who == "alice" else nobody(world)
    answer = person.ask("POST", tested, RESULT)
    assert (answer.status, answer.json()["type"]) == (200, "toxresultpath")
    path, _, digest = answer.json()["result"].partition("#sha256=")
    assert path.startswith(f"{tested[1:]}.toxresult-20261118110640-0")
    assert digest == sha256(RESULT)
    assert Wire(world).ask(f"/{path}").body == RESULT
    (told,) = results(alice)
    assert told["href"] == f"http://devpi.example/{path}"
    assert told["for_href"] == f"http://devpi.example{tested}"
    assert told["hash_spec"] == f"sha256={digest}"
    assert [(line["what"], line["who"]) for line in told["log"]] == [("upload", "alice" if who == "alice" else None)]
    assert world.entries[-1][0] == ("alice" if who == "alice" else "+anonymous")


def test_results_of_one_second_have_names_of_their_own(world: World, alice: Person, tested: str) -> None:
    bodies = [orjson.dumps({"n": number}) for number in range(5)] + [orjson.dumps({"n": 0})]
    paths = [alice.ask("POST", tested, body).json()["result"].partition("#")[0] for body in bodies]
    assert [path.rpartition("-")[2] for path in paths] == ["0", "1", "2", "3", "4", "5"]
    assert [Wire(world).ask(f"/{path}").body for path in paths] == bodies
    assert len(results(alice)) == 6


def test_what_a_crash_left_behind_takes_no_result_away(world: World, alice: Person, tested: str) -> None:
    first = alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    world.commit(FileRemoved(DEV, NAME, SDIST))
    upload(alice, DEV, SDIST, sdist())
    second = alice.ask("POST", tested, b'"other"').json()["result"].partition("#")[0]
    assert first != second
    assert Wire(world).ask(f"/{second}").body == b'"other"'


@pytest.mark.parametrize("body", [b"null", b"1", b'"x"', b"[]", b"{}", b' {"a": [1, 2.5, true]} '])
def test_any_json_is_a_result(world: World, alice: Person, tested: str, body: bytes) -> None:
    assert alice.ask("POST", tested, body).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"tox", b"\xff\xfe", b'{"a": }', b"{}x", b"[" * 100_000])
def test_what_is_no_json_is_refused(world: World, alice: Person, tested: str, body: bytes) -> None:
    serial = serial_of(world)
    answer = alice.ask("POST", tested, body)
    assert (answer.status, answer.json()["message"]) == (400, "Bad request: could not decode json")
    assert serial_of(world) == serial
    assert leftovers(world) == []


@pytest.mark.parametrize(
    "kind", [None, "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize("spelling", ["{}", "{}/", "/{}", "%2B"])
def test_content_type_and_spelling_of_the_path_do_not_matter(
    world: World, alice: Person, tested: str, kind: str | None, spelling: str
) -> None:
    path = tested.replace("+", "%2Bf"[:3]) if spelling == "%2B" else spelling.format(tested)
    answer = alice.ask("POST", path, RESULT, **({} if kind is None else {"content_type": kind}))
    assert answer.status == 200


def test_below_a_prefix_it_is_the_same_file(world: World, alice: Person, tested: str) -> None:
    world.components.addresses.outside_url = "https://pkgs.example/devpi"
    assert alice.ask("POST", f"/devpi{tested}", RESULT).status == 200
    assert len(results(alice)) == 1


def test_a_result_of_some_megabytes_is_taken_and_a_larger_one_is_not(world: World, alice: Person, tested: str) -> None:
    large = orjson.dumps({"output": "x" * (5 * 1024 * 1024)})
    path = alice.ask("POST", tested, large).json()["result"].partition("#")[0]
    assert Wire(world).ask(f"/{path}").body == large
    answer = alice.ask("POST", tested, orjson.dumps({"output": "x" * LARGEST_RESULT}))
    assert answer.status == 413
    assert str(LARGEST_RESULT) in answer.json()["message"]
    assert leftovers(world) == []
    assert len(results(alice)) == 1


def test_results_of_people_who_may_not_upload_take_a_limited_room(world: World, alice: Person, tested: str) -> None:
    world.components.storage.anonymous_results = 10_000
    world.add_user("bob", None)
    for number in range(3):  # each takes 4 KiB at least
        assert nobody(world).ask("POST", tested, b"%d" % number).status == 200
    for person in (nobody(world), logged_in(world, "bob")):
        answer = person.ask("POST", tested, RESULT)
        assert answer.status == 403
        assert "anonymous-results" in answer.json()["message"]
    assert alice.ask("POST", tested, RESULT).status == 200
    assert len(results(alice)) == 4
    assert leftovers(world) == []


# Refusals ----------------------------------------------------------------------------------------------------------


def test_only_files_of_releases_take_results(world: World, alice: Person, tested: str) -> None:
    upload(alice, DEV, "docs.zip", zip_of({"index.html": b""}), action="doc_upload")
    result = "/" + alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    (docs,) = [one["href"] for one in release(alice, DEV)["+links"] if one["rel"] == "doczip"]
    unknown = tested[:-1] + "x"
    for path in (result, docs.removeprefix("http://devpi.example"), unknown, f"{tested}.metadata"):
        answer = alice.ask("POST", path, RESULT)
        told = path.removeprefix("/").replace("%2B", "+")
        assert (answer.status, answer.json()["message"]) == (404, f"no release file found at {told}")


def test_a_mirror_takes_no_results(world: World, alice: Person) -> None:
    body = b"bytes"
    world.list_links("six", [link("six-1.0.tar.gz", body)])
    path = world.cache_file("six", link("six-1.0.tar.gz", body), body)
    answer = alice.ask("POST", path, RESULT)
    assert (answer.status, answer.json()["message"]) == (404, f"no release file found at {path[1:]}")
    assert path.startswith(f"/{MIRROR}/")


def test_who_may_not_upload_results_is_told_how_to_do_without(world: World, alice: Person, tested: str) -> None:
    world.add_user("bob", None)
    bob = logged_in(world, "bob")
    world.commit(IndexModified(DEV, {"acl_toxresult_upload": ["alice"]}))
    for person, path in ((nobody(world), tested), (bob, tested), (alice, "/alice/none/+f/abc/0123456789abc/x-1.tar.gz")):
        answer = person.ask("POST", path, RESULT, accept="*/*")
        assert answer.status == 403
        assert NOT_ALLOWED in answer.body.decode()
    assert alice.ask("POST", tested, RESULT).status == 200


def test_who_may_not_read_an_index_learns_nothing_from_it(world: World, alice: Person, tested: str) -> None:
    world.add_user("bob", None)
    world.commit(IndexModified(DEV, {"acl_read": ["alice"]}))
    for path in (tested, tested[:-1] + "x"):
        assert nobody(world).ask("POST", path, RESULT).status == 401
        assert logged_in(world, "bob").ask("POST", path, RESULT).status == 403
    assert alice.ask("POST", tested, RESULT).status == 200


def test_an_api_token_takes_away_nothing_that_everybody_may(world: World, alice: Person, tested: str) -> None:
    token = with_api_token(world, "alice", "read")
    assert token.ask("POST", tested, RESULT).status == 200
    world.commit(IndexModified(DEV, {"acl_toxresult_upload": ["alice"]}))
    assert token.ask("POST", tested, RESULT).status == 403


@pytest.mark.parametrize(
    "path", ["/alice/dev/+f/abc", "/alice/dev/+f/abc/def", "/+f/abc/def/x", "/a/+f/b/c/d", "/alice/dev/x/+f/a/b/c"]
)
def test_odd_paths_do_no_harm(world: World, alice: Person, path: str) -> None:
    assert alice.ask("POST", path, RESULT).status in (400, 403, 404, 405)
    assert leftovers(world) == []


@pytest.mark.parametrize(("path", "expected"), [
    ("/alice/dev/+f/abc/def/x", True), ("/p/alice/dev/+f/abc/def/x", True), ("//alice/dev/%2bf/abc/def/x/", True),
    ("/alice/dev/+e/abc/x", False), ("/alice/dev", False), ("/alice/dev/+f/abc/def/..", False), ("/+f/a/b/c", False),
    ("/alice/dev/+f/abc/def/x/+yank", False), ("", False), ("/alice/dev/%2Ff/abc/def/x", False),
])  # fmt: skip
def test_the_path_tells_what_is_a_result(path: str, expected: bool) -> None:
    assert is_result_path(path.encode()) is expected


# Reading -----------------------------------------------------------------------------------------------------------


def test_a_result_is_a_file_like_others(world: World, alice: Person, tested: str) -> None:
    path = "/" + alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    full = Wire(world).ask(path)
    assert full.headers["content-type"] == "application/octet-stream"
    assert full.headers["etag"] == f'"{sha256(RESULT)}"'
    assert "immutable" in full.headers["cache-control"]
    assert full.headers["last-modified"]
    assert Wire(world).ask(path, "HEAD").headers["content-length"] == str(len(RESULT))
    assert Wire(world).ask(path, if_none_match=full.headers["etag"]).status == 304
    part = Wire(world).ask(path, range="bytes=2-5")
    assert (part.status, part.body) == (206, RESULT[2:6])
    told = Wire(world).ask(path, accept="application/json").json()
    assert told["type"] == "releasefilemeta"
    assert told["result"]["hash_spec"] == f"sha256={sha256(RESULT)}"
    assert (told["result"]["project"], told["result"]["version"]) == (NAME, "1.0")


def test_a_result_goes_with_what_was_tested(world: World, alice: Person, tested: str) -> None:
    path = "/" + alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    assert Wire(world).ask(path).status == 200
    upload(alice, DEV, SDIST, sdist(payload=b"another"))
    assert Wire(world).ask(path).status == 410
    assert results(alice) == []


def test_results_and_documentation_are_as_closed_as_their_index(world: World, alice: Person, tested: str) -> None:
    path = "/" + alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    assert Wire(world).ask(path).status == 200
    world.commit(IndexModified(DEV, {"acl_read": ["alice"]}))
    assert Wire(world).ask(path).status == 401
    answer = alice.get(path, accept="*/*")
    assert answer.status == 200
    assert "private" in answer.headers["cache-control"]


def test_in_quarantine_nothing_is_offered(world: World, alice: Person, tested: str) -> None:
    path = "/" + alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    world.commit(ProjectMarked(DEV, NAME, "quarantined"))
    assert Wire(world).ask(path).status == 404


def test_with_a_release_in_quarantine_its_results_are_not_offered_either(world: World, alice: Person, tested: str) -> None:
    path = "/" + alice.ask("POST", tested, RESULT).json()["result"].partition("#")[0]
    page = f"/{DEV}/{NAME}/1.0/+toxresults/{tested.rpartition('/')[2]}"
    assert [Wire(world).ask(path).status, alice.get(page, accept="text/html").status] == [200, 200]
    world.commit(IndexModified(DEV, {"quarantined": [f"{NAME}==1.0 it steals"]}))
    refused = Wire(world).ask(path)
    assert (refused.status, b"it steals" in refused.body) == (403, True)
    assert alice.get(page, accept="text/html").status == 403
    assert b"+toxresults" not in alice.get(f"/{DEV}/{NAME}/1.0", accept="text/html").content
    world.commit(IndexModified(DEV, {"policy_mode": "report"}))
    for _ in range(2):
        assert Wire(world).ask(path).status == 200
    counts = [measure.value for measure in world.components.policies.refused.measures()]
    assert counts == [2, 2], "enforced ones and reported ones, each request"


def test_the_documentation_is_a_file_as_well(world: World, alice: Person) -> None:
    upload(alice, DEV, "docs.zip", zip_of({"index.html": b""}), action="doc_upload")
    (docs,) = [one["href"] for one in release(alice, DEV)["+links"] if one["rel"] == "doczip"]
    answer = Wire(world).ask(docs.removeprefix("http://devpi.example"))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, zip_of({"index.html": b""}), "application/zip")
    assert docs.endswith("/demo-pkg-1.0.doc.zip")


def test_a_result_may_be_sent_without_any_headers(world: World, alice: Person, tested: str) -> None:
    assert ask_raw(world, "POST", tested, RESULT).status == 200


def test_another_index_with_the_same_file_has_results_of_its_own(world: World, alice: Person, tested: str) -> None:
    add_stage(world, "alice/two")
    add_mirror(world)
    upload(alice, "alice/two", SDIST, sdist())
    alice.ask("POST", tested, RESULT)
    assert [one["rel"] for one in release(alice, "alice/two")["+links"]] == ["releasefile"]
    answer = alice.ask("POST", path_of(world, "alice/two", SDIST), b'"second"')
    path = answer.json()["result"].partition("#")[0]
    assert Wire(world).ask(f"/{path}").body == b'"second"'


# At once -----------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Threads:
    """Threads that work when a test says so, the last that was asked first."""

    waiting: list[tuple[Deferred[Any], Any, tuple[Any, ...]]] = attrs.field(factory=list)

    def __call__(self, work: Any, *arguments: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.waiting.append((result, work, arguments))
        return result

    def run(self) -> None:
        while self.waiting:
            round_, self.waiting = self.waiting[::-1], []
            for result, work, arguments in round_:
                try:
                    outcome = work(*arguments)
                except Exception as error:
                    result.errback(error)
                else:
                    result.callback(outcome)


def test_results_that_come_at_the_same_instant_are_all_kept(world: World, alice: Person, tested: str) -> None:
    bodies = [b'{"n": %d}' % number for number in range(8)]
    threads = world.offload = Threads()
    wires = [Wire(world) for _body in bodies]
    for wire, body in zip(wires, bodies, strict=True):
        wire.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (tested.encode(), len(body), body))
    threads.run()
    answers = [read_answer(bytes(wire.transport.value())) for wire in wires]
    assert [answer.status for answer in answers] == [200] * len(bodies)
    paths = [answer.json()["result"].partition("#")[0] for answer in answers]
    assert len(set(paths)) == len(bodies)
    world.offload = at_once
    assert [Wire(world).ask(f"/{path}").body for path in paths] == bodies


def test_a_file_that_is_removed_meanwhile_takes_no_result(world: World, alice: Person, tested: str) -> None:
    threads = world.offload = Threads()
    wire = Wire(world)
    wire.send(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % tested.encode())
    world.commit(FileRemoved(DEV, NAME, SDIST))
    threads.run()
    assert read_answer(bytes(wire.transport.value())).status == 404
    assert leftovers(world) == []
