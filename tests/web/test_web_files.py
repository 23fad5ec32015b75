"""Files and metadata: whole, in part, growing, blocked."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import attrs
import pytest

from tests.web.web_asking import logged_in
from tests.web.web_wire import Wire, read_answer, request_bytes
from tests.web.web_world import MIRROR, FakeDownload, World, link
from twistpi.model.changes import IndexModified, LinksChanged
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable, WrongBytes
from twistpi.model.records import PageHeader
from twistpi.model.urls import public_address
from twistpi.rules.mirrors import file_path

BODY = bytes(range(256)) * 400
"""More than what is kept and sent in one piece."""
NAME = "hello-1.0+cu12-py3-none-any.whl"
WHEEL = link(NAME, BODY)
DATE = "Sun, 22 Nov 2026 17:24:48 GMT"
COLD = f"/{MIRROR}/{file_path(WHEEL)}"


@pytest.fixture
def world(world: World) -> World:
    """The upstream lists the wheel."""
    world.list_links("hello", [WHEEL])
    return world


@pytest.fixture
def path(world: World) -> str:
    """The wheel is here."""
    return world.cache_file("hello", WHEEL, BODY)


@pytest.fixture
def download(world: World) -> FakeDownload:
    """The wheel is being fetched, and nothing of it came yet."""
    return world.grow_file(WHEEL, len(BODY))


def have(world: World, is_cached: bool) -> None:
    """The wheel is here, or was fetched just now."""
    if is_cached:
        world.cache_file("hello", WHEEL, BODY)
    else:
        world.grow_file(WHEEL, len(BODY)).grow(BODY, end=True)


@pytest.mark.parametrize(
    ("part", "spelled"),
    [("", ""), ("/+f/", "/%2Bf/"), ("+cu", "%2Bcu"), ("hello", "%68ello"), (".whl", ".whl/"), ("/root", "//root")],
)
def test_R05_any_spelling_of_the_path_is_the_same_file(world: World, path: str, part: str, spelled: str) -> None:
    wire = Wire(world)
    for _ in range(2):
        answer = wire.ask(path.replace(part, spelled))
        assert (answer.status, answer.body) == (200, BODY)


def test_R17_R45_R56_the_head_of_a_file(world: World, path: str) -> None:
    answer = Wire(world).ask(path, accept_encoding="gzip")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in answer.headers
    assert answer.headers["etag"] == f'"{WHEEL.sha256}"'
    assert answer.headers["cache-control"] == "max-age=365000000, immutable, public"
    assert answer.headers["last-modified"] == DATE


@pytest.mark.parametrize(
    ("filename", "kind"),
    [("hello-1.tar.gz", "application/x-tar"), ("hello-1.zip", "application/zip"), ("hello-1.exe", "application/octet-stream")],
)
def test_R17_the_type_is_guessed_from_the_name(world: World, filename: str, kind: str) -> None:
    one = link(filename, b"z")
    world.list_links("hello", [one])
    assert Wire(world).ask(world.cache_file("hello", one, b"z")).headers["content-type"] == kind


@pytest.mark.parametrize("is_cached", [True, False])
def test_R40_head_tells_length_and_ranges_without_asking_the_upstream(world: World, is_cached: bool) -> None:
    if is_cached:
        world.cache_file("hello", WHEEL, BODY)
    answer = Wire(world).ask(COLD, "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.headers["accept-ranges"]) == (200, str(len(BODY)), "bytes")
    assert world.downloads.opened == 0


def test_R40_head_asks_for_a_size_nobody_told(world: World) -> None:
    unsized = link("unsized-1.0.tar.gz", BODY, size=None)
    world.list_links("unsized", [unsized])
    download = world.grow_file(unsized, len(BODY))
    answer = Wire(world).ask(f"/{MIRROR}/{file_path(unsized)}", "HEAD")
    assert answer.headers["content-length"] == str(len(BODY))
    assert download.readers == 0


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("100-199", 100, 200), ("102000-", 102000, 102400), ("-10", 102390, 102400), ("-999999", 0, 102400)],
)
@pytest.mark.parametrize("is_cached", [True, False])
def test_R41_R44_single_ranges_of_cached_and_of_growing_files(
    world: World, asked: str, start: int, end: int, is_cached: bool
) -> None:
    have(world, is_cached)
    answer = Wire(world).ask(COLD, range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, BODY[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BODY)}"


@pytest.mark.parametrize("is_cached", [True, False])
def test_R41_a_range_outside_the_file_is_refused(world: World, is_cached: bool) -> None:
    have(world, is_cached)
    answer = Wire(world).ask(COLD, range="bytes=102400-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */102400")


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=x", "rows=1-2", "bytes=5-2"])
def test_R42_several_or_malformed_ranges_get_the_whole_file(world: World, path: str, asked: str) -> None:
    answer = Wire(world).ask(path, range=asked)
    assert (answer.status, answer.body) == (200, BODY)


@pytest.mark.parametrize(
    ("condition", "status"), [(f'"{WHEEL.sha256}"', 206), (DATE, 206), ('"other"', 200), ("Sat, 21 Nov 2026 00:00:00 GMT", 200)]
)
def test_R43_if_range(world: World, path: str, condition: str, status: int) -> None:
    assert Wire(world).ask(path, range="bytes=0-9", if_range=condition).status == status


def test_R44_a_range_waits_for_its_offset(world: World, download: FakeDownload) -> None:
    wire = Wire(world)
    assert wire.send(request_bytes(COLD, range="bytes=1000-1999")) == b""
    download.grow(BODY[:1000])
    assert wire.transport.value() == b""
    download.grow(BODY[1000:1500])
    download.grow(BODY[1500:])
    assert read_answer(wire.transport.value()).body == BODY[1000:2000]


def test_R46_a_cold_file_streams_while_it_comes_to_all_who_want_it(world: World, download: FakeDownload) -> None:
    wires = [Wire(world) for _ in range(5)]
    for wire in wires:
        wire.send(request_bytes(COLD))
    download.grow(BODY[:50_000])
    for wire in wires:
        assert wire.transport.value().endswith(BODY[:50_000])
    wires[0].transport.loseConnection()
    wires[0].lose()
    download.grow(BODY[50_000:], end=True)
    for wire in wires[1:]:
        assert read_answer(wire.transport.value()).body == BODY
        wire.transport.clear()
        assert wire.ask("/").status == 200, "the connection goes on"
    assert download.readers == 0


def test_R46_without_a_length_the_answer_is_chunked(world: World) -> None:
    unsized = link("unsized-1.0.tar.gz", BODY, size=None, hashes={})
    world.list_links("unsized", [unsized])
    download = world.grow_file(unsized, None)
    wire = Wire(world)
    path = f"/{MIRROR}/{file_path(unsized)}"
    assert "/+e/" in path
    wire.send(request_bytes(path))
    download.grow(BODY[:1000])
    download.grow(BODY[1000:], end=True)
    answer = read_answer(wire.transport.value())
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == BODY
    assert "etag" not in answer.headers


def test_R47_a_failure_in_the_middle_cuts_the_connection(world: World, download: FakeDownload) -> None:
    wire = Wire(world)
    wire.send(request_bytes(COLD))
    download.grow(BODY[:1000])
    download.fail(WrongBytes(NAME, WHEEL.url, "another digest"))
    assert wire.transport.disconnected or wire.transport.disconnecting
    assert wire.transport.value().endswith(BODY[:1000])
    wire.lose()
    assert download.readers == 0


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (WrongBytes(NAME, WHEEL.url, "another digest"), 502),
        (UpstreamFailed(MIRROR, NAME, "500"), 502),
        (UpstreamUnreachable(MIRROR, NAME, "gone"), 503),
    ],
)
def test_R47_a_failure_before_the_first_byte_is_said(
    world: World, download: FakeDownload, failure: Exception, status: int
) -> None:
    download.fail(failure)
    answer = Wire(world).ask(COLD)
    assert answer.status == status
    assert str(failure).encode() in answer.body


def test_R49_an_unknown_file_is_a_404_and_a_failing_upstream_is_not(world: World) -> None:
    wire = Wire(world)
    unknown = f"/{MIRROR}/+f/abc/0123456789abc/nope-1.0.tar.gz"
    assert wire.ask(unknown).status == 404
    world.mirror.failure = UpstreamUnreachable(MIRROR, "nope", "gone")
    assert wire.ask(unknown).status == 503


def test_R51_other_endings_are_never_the_file(world: World, path: str) -> None:
    assert Wire(world).ask(path + ".asc").status == 404


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": f'"{WHEEL.sha256}"'}, 304), ({"if_none_match": f'"x", W/"{WHEEL.sha256}"'}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_modified_since": DATE}, 304), ({"if_modified_since": "Sat, 21 Nov 2026 00:00:00 GMT"}, 200),
        ({"if_none_match": '"x"', "if_modified_since": DATE}, 200),
    ],
)  # fmt: skip
def test_R56_conditional_requests(world: World, path: str, fast: bool, headers: dict[str, str], status: int) -> None:
    wire = Wire(world, fast=fast)
    wire.ask(path)
    answer = wire.ask(path, **headers)
    assert answer.status == status
    assert answer.headers["etag"] == f'"{WHEEL.sha256}"'
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("suffix", ["", ".metadata"])
def test_R63_files_of_a_quarantined_project_are_blocked_at_once(world: World, path: str, suffix: str) -> None:
    world.cache_metadata("hello", WHEEL, b"Metadata-Version: 2.1\n")
    wire = Wire(world)
    for _ in range(2):
        assert wire.ask(path + suffix).status == 200
    world.commit(LinksChanged(MIRROR, "hello", header=PageHeader(status="quarantined")))
    answer = wire.ask(path + suffix)
    assert answer.status == 404
    assert b"quarantined" in answer.body


@pytest.mark.parametrize("fast", [True, False])
def test_R37_metadata_is_sent_byte_for_byte(world: World, path: str, fast: bool) -> None:
    metadata = b"Metadata-Version: 2.1\r\nName: hello\n"
    metadata_path = world.cache_metadata("hello", WHEEL, metadata)
    wire = Wire(world, fast=fast)
    for _ in range(2):
        answer = wire.ask(metadata_path, accept="application/json", accept_encoding="gzip")
        assert (answer.status, answer.body) == (200, metadata)
        assert "content-encoding" not in answer.headers
    assert wire.ask(metadata_path, if_none_match=answer.headers["etag"]).status == 304
    assert wire.ask(metadata_path, "HEAD").headers["content-length"] == str(len(metadata))
    assert wire.ask(metadata_path, range="bytes=0-7").body == metadata[:8]


def test_R38_metadata_nobody_has_is_a_404_with_the_reason(world: World, path: str) -> None:
    answer = Wire(world).ask(path + ".metadata")
    assert answer.status == 404
    assert b"nobody has it" in answer.body


def test_facts_about_a_file_as_json(world: World, path: str) -> None:
    wire = Wire(world)
    wire.ask(path)
    answer = wire.ask(path, accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["type"] == "releasefilemeta"
    assert told["result"] == {
        "hash_spec": f"sha256={WHEEL.sha256}", "hashes": {"sha256": WHEEL.sha256}, "project": "hello", "version": "1.0+cu12",
        "url": public_address(WHEEL.url), "last_modified": DATE,
    }  # fmt: skip
    of_7 = {**told["result"], "size": len(BODY), "last_modified": f"{parsedate_to_datetime(DATE):%Y-%m-%dT%H:%M:%SZ}"}
    del of_7["hash_spec"]
    assert wire.ask(f"{path}?v=2", accept="application/json").json()["result"] == of_7
    assert wire.ask(f"{path}?v=3", accept="application/json").status == 400


def test_external_urls_lead_to_the_upstream_while_the_file_is_not_here(world: World) -> None:
    world.commit(IndexModified(MIRROR, {"mirror_use_external_urls": True}))
    answer = Wire(world).ask(COLD)
    assert (answer.status, answer.headers["location"]) == (302, WHEEL.url)
    world.cache_file("hello", WHEEL, BODY)
    assert Wire(world).ask(COLD).status == 200


@pytest.mark.parametrize(("login", "query"), [("reader:secret@", ""), ("", "?auth=secret")])
def test_credentials_in_the_address_of_a_file_are_shown_to_nobody(world: World, login: str, query: str) -> None:
    secret = attrs.evolve(WHEEL, url=WHEEL.url.replace("://", f"://{login}") + query)
    world.list_links("hello", [secret])
    assert "secret" not in Wire(world).ask(COLD, accept="application/json").body.decode()
    world.commit(IndexModified(MIRROR, {"mirror_use_external_urls": True}))
    world.grow_file(secret, len(BODY)).grow(BODY, end=True)
    answer = Wire(world).ask(COLD)
    assert (answer.status, answer.body) == (200, BODY)


def test_a_cached_file_that_somebody_removed_is_fetched_again(world: World, path: str) -> None:
    wire = Wire(world)
    wire.ask(path)
    for address, _size in list(world.blobs.walk()):
        world.blobs.remove(address)
    world.grow_file(WHEEL, len(BODY)).grow(BODY, end=True)
    assert wire.ask(path).body == BODY
    assert world.downloads.opened == 1


def test_an_empty_file_is_a_file(world: World) -> None:
    empty = link("hello-0.tar.gz", b"")
    world.list_links("hello", [empty])
    path = world.cache_file("hello", empty, b"")
    for _ in range(2):
        answer = Wire(world).ask(path)
        assert (answer.status, answer.headers["content-length"]) == (200, "0")
    assert Wire(world).ask(path, range="bytes=0-").status == 416


@pytest.mark.parametrize("warm", [False, True])
def test_a_mirrored_file_that_is_thrown_away_is_requested_of_the_upstream_again(world: World, path: str, warm: bool) -> None:
    wire = Wire(world)
    if warm:
        wire.ask(path)
    root = logged_in(world, "root")
    world.commit(IndexModified(MIRROR, {"volatile": False}))
    assert root.ask("DELETE", path).status == 403
    assert root.ask("DELETE", f"{path}?force").json() == {"message": f"package '{path.removeprefix('/')}' deleted"}
    assert root.ask("DELETE", f"{path}?force").status == 404
    world.grow_file(WHEEL, len(BODY)).grow(BODY, end=True)
    answer = Wire(world).ask(path)
    assert (answer.body, answer.headers["cache-status"]) == (BODY, "twistpi; fwd=miss; stored")
