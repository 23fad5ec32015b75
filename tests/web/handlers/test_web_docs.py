"""Documentation on the web: straight out of the archive, and away from the origin of the server."""

from __future__ import annotations

import io
import os
import stat
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.web_asking import Person, add_stage, logged_in, nobody, serial_of
from tests.web.web_uploads import DEV, NAME, is_accepted, release, upload, with_stages
from tests.web.web_wire import Answer, Wire
from tests.web.web_world import World, sha256
from twistpi.blobs.address import blob_address
from twistpi.model.changes import IndexModified
from twistpi.model.releases import ProjectMarked
from twistpi.web.handlers.docs_archive import read_contents, unpack

PAGES = {
    "index.html": b"<h1>Welcome</h1>" * 1000,
    "sub/index.html": b"<h1>Below</h1>",
    "_static/style.css": b"h1 { color: red }",
    "_static/a b.js": b"alert(1)",
    "objects.inv": b"# Sphinx",
    "text.txt": b"text",
    "empty.txt": b"",
    "k\u00e4se.html": b"cheese",
}


@pytest.fixture
def alice(world: World) -> Person:
    return with_stages(world)


def archive(pages: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        for name, body in pages.items():
            file.writestr(name, body)
        file.mkdir("folder")
    return made.getvalue()


def add_docs(alice: Person, version: str = "1.0", pages: Mapping[str, bytes] = PAGES, **more: Any) -> bytes:
    body = archive(pages, **more)
    assert is_accepted(upload(alice, DEV, "docs.zip", body, action="doc_upload", version=version))
    return body


def unchecked(world: World) -> None:
    world.commit(IndexModified(DEV, {"upload_checks": "none"}))


def register(alice: Person, version: str) -> None:
    body = f":action=submit&name={NAME}&version={version}".encode()
    assert alice.ask("POST", f"/{DEV}", body, content_type="application/x-www-form-urlencoded").status == 200


def ask(world: World, path: str, version: str = "1.0", kind: str = "+doc", method: str = "GET", **headers: str) -> Answer:
    return Wire(world).ask(f"/{DEV}/{NAME}/{version}/{kind}/{path}", method, **headers)


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body.decode()


# Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_files_come_out_of_the_archive_as_they_went_in(world: World, alice: Person, method: int) -> None:
    add_docs(alice, method=method)
    for name, body in PAGES.items():
        answer = ask(world, quote(name))
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, body, str(len(body)))


@pytest.mark.parametrize(("path", "kind"), [
    ("index.html", "text/html"), ("_static/style.css", "text/css"), ("_static/a%20b.js", "text/javascript"),
    ("objects.inv", "application/octet-stream"), ("text.txt", "text/plain; charset=utf-8"),
])  # fmt: skip
def test_the_name_tells_the_type(world: World, alice: Person, path: str, kind: str) -> None:
    add_docs(alice)
    assert ask(world, path).headers["content-type"] == kind


def test_answers_can_be_kept_and_asked_for_again(world: World, alice: Person) -> None:
    digest = sha256(add_docs(alice))
    answer = ask(world, "index.html")
    assert answer.headers["etag"] == f'"{digest}"'
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["expires"] == "Wed, 18 Nov 2026 11:07:40 GMT"
    assert answer.headers["last-modified"]
    unchanged = ask(world, "index.html", if_none_match=answer.headers["etag"])
    assert (unchanged.status, unchanged.headers["etag"]) == (304, answer.headers["etag"])
    assert ask(world, "index.html", if_modified_since=answer.headers["last-modified"]).status == 304
    add_docs(alice, pages={"index.html": b"new"})
    answer = ask(world, "index.html", if_none_match=answer.headers["etag"])
    assert (answer.status, answer.body) == (200, b"new")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
@pytest.mark.parametrize(("asked", "start", "end"), [
    ("bytes=0-0", 0, 1), ("bytes=5-20", 5, 21), ("bytes=15990-", 15990, 16000), ("bytes=-7", 15993, 16000),
    ("bytes=0-", 0, 16000),
])  # fmt: skip
def test_parts_of_a_file(world: World, alice: Person, method: int, asked: str, start: int, end: int) -> None:
    add_docs(alice, method=method)
    answer = ask(world, "index.html", range=asked)
    assert (answer.status, answer.body) == (206, PAGES["index.html"][start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/16000"
    assert ask(world, "index.html", range="bytes=16000-").status == 416


def test_head_tells_what_get_would(world: World, alice: Person) -> None:
    add_docs(alice)
    head, get = ask(world, "index.html", method="HEAD"), ask(world, "index.html")
    assert (head.status, head.headers) == (200, get.headers)


def test_a_redirect_leads_to_the_first_page(world: World, alice: Person) -> None:
    add_docs(alice)
    for kind in ("+doc", "+d"):
        answer = ask(world, "", kind=kind)
        assert (answer.status, answer.headers["location"]) == (302, "index.html")
        assert Wire(world).ask(f"/{DEV}/{NAME}/1.0/{kind}").status == 404


@pytest.mark.parametrize("kind", ["+doc", "+d"])
def test_other_spellings_of_the_project_lead_to_the_normal_one(world: World, alice: Person, kind: str) -> None:
    add_docs(alice)
    answer = Wire(world).ask(f"/{DEV}/Demo.Pkg/1.0/{kind}/sub/index.html?x=1")
    assert (answer.status, answer.headers["location"]) == (302, f"../../../../{NAME}/1.0/{kind}/sub/index.html?x=1")
    assert Wire(world).ask(f"/{DEV}/Demo.Pkg/1.0/{kind}/sub/index.html", "HEAD").status == 200


# Not there ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["nope.html", "sub", "sub/", "folder", "folder/", "index.html/", "INDEX.html"])
def test_what_is_not_in_the_archive_is_not_found(world: World, alice: Person, path: str) -> None:
    add_docs(alice)
    assert said(ask(world, path)) == (404, f"File {path} not found in documentation.\n")
    assert said(ask(world, path, kind="+d")) == (404, f"File {path} not found in documentation.\n")


@pytest.mark.parametrize("path", [
    "../../../../+status", "%2e%2e/index.html", "..%2findex.html", "sub/../index.html", "/etc/passwd", "%2fetc/passwd",
    "..\\index.html", "%5c..%5cindex.html", "index.html%00", "./index.html",
])  # fmt: skip
def test_no_path_leads_out_of_the_archive(world: World, alice: Person, path: str) -> None:
    unchecked(world)
    hostile = {"../../index.html": b"evil", "/etc/passwd": b"evil", "..\\index.html": b"evil", "index.html": b"good"}
    add_docs(alice, pages=hostile)
    answer = ask(world, path)
    if answer.status == 301:  # to the path without doubled slashes
        answer = Wire(world).ask(answer.headers["location"])
    assert answer.status in (400, 404)
    assert b"evil" not in answer.body


def test_without_documentation_there_is_none(world: World, alice: Person) -> None:
    nothing = (404, "No documentation available.\n")
    assert said(ask(world, "index.html")) == nothing
    add_docs(alice, "1.0b1")
    for version in ("1.0", "1.0b", "9"):
        assert said(ask(world, "index.html", version)) == nothing
    assert said(ask(world, "index.html", "stable")) == (404, "No stable documentation available.\n")
    assert Wire(world).ask(f"/alice/none/{NAME}/1.0/+doc/index.html").status == 404


def test_documentation_is_not_inherited(world: World, alice: Person) -> None:
    add_docs(alice)
    add_stage(world, "alice/above", bases=[DEV])
    assert Wire(world).ask(f"/alice/above/{NAME}/1.0/+doc/index.html").status == 404


@pytest.mark.directory("removes a file from the directory, which a node brings from the bucket")
def test_when_the_archive_is_gone_it_says_so(world: World, alice: Person) -> None:
    body = add_docs(alice)
    world.blobs.remove(blob_address(sha256(body), f"{NAME}-1.0.doc.zip"))
    answer = ask(world, "index.html")
    assert answer.status == 404
    assert "not on the disk" in answer.body.decode()


# Versions ----------------------------------------------------------------------------------------------------------


def test_latest_and_stable_are_the_newest_with_documentation(world: World, alice: Person) -> None:
    for version in ("0.9", "0.10", "1.0b1"):
        add_docs(alice, version, {"index.html": version.encode()})
    register(alice, "2.0")
    assert ask(world, "index.html", "latest").body == b"1.0b1"
    assert ask(world, "index.html", "stable").body == b"0.10"
    add_docs(alice, "2.0", {"index.html": b"2.0"})
    assert ask(world, "index.html", "latest").body == b"2.0"
    assert ask(world, "index.html", "stable").body == b"2.0"


# Whose page it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["index.html", "_static/style.css", "objects.inv"])
def test_a_hostile_page_has_not_the_origin_of_the_server(world: World, alice: Person, path: str) -> None:
    add_docs(alice)
    for answer in (ask(world, path), ask(world, path, method="HEAD"), ask(world, path, range="bytes=0-3")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox ")
        assert "allow-same-origin" not in policy
        assert "allow-top-navigation " not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    unchanged = ask(world, path, if_none_match="*")
    assert (unchanged.status, unchanged.headers["content-security-policy"]) == (304, policy)


def test_documentation_is_as_closed_as_its_index(world: World, alice: Person) -> None:
    add_docs(alice)
    world.add_user("bob", None)
    assert ask(world, "index.html").headers["access-control-allow-origin"] == "*"
    world.commit(IndexModified(DEV, {"acl_read": ["alice"]}))
    path = f"/{DEV}/{NAME}/1.0/+doc/index.html"
    others = [path.replace(*pair) for pair in (("+doc", "+d"), ("index.html", ""), ("index", "nope"), (NAME, "x"))]
    for one in (path, *others):
        assert nobody(world).get(one, accept="*/*").status == 401
        assert logged_in(world, "bob").get(one, accept="*/*").status == 403
    answer = alice.get(path, accept="*/*")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "X-Devpi-Auth" in answer.headers["vary"]
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("sandbox ")


def test_in_quarantine_no_documentation_is_offered(world: World, alice: Person) -> None:
    add_docs(alice)
    world.commit(ProjectMarked(DEV, NAME, "quarantined"))
    assert ask(world, "index.html").status == 404


def test_of_a_release_in_quarantine_no_documentation_is_offered_and_latest_is_another(world: World, alice: Person) -> None:
    for version in ("1.0", "2.0"):
        add_docs(alice, version)
    world.commit(IndexModified(DEV, {"quarantined": [f"{NAME}==2.0 it steals"]}))
    path = f"/{DEV}/{NAME}/2.0/+doc/index.html"
    for one in (path, path.replace("+doc", "+d")):
        answer = nobody(world).get(one, accept="*/*")
        assert (answer.status, answer.headers["x-twistpi-policy"]) == (403, f"quarantined; index={DEV}")
        assert b"it steals" in answer.body
    assert ask(world, "index.html").status == 200
    assert nobody(world).get(path.replace("2.0", "latest"), accept="*/*").status == 200
    world.commit(IndexModified(DEV, {"policy_mode": "report"}))
    assert nobody(world).get(path, accept="*/*").status == 200


# The frame ---------------------------------------------------------------------------------------------------------


def test_the_frame_shows_the_page_in_a_sandbox(world: World, alice: Person) -> None:
    add_docs(alice)
    answer = ask(world, "sub/index.html?q=%3Cb%3E&x=\"'", kind="+d")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    assert f'<iframe class="docs" src="/{DEV}/{NAME}/1.0/+doc/sub/index.html?q=%3Cb%3E&amp;x=&#34;&#39;"' in text
    assert "sandbox=" in text
    assert "allow-same-origin" not in text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert f'<a href="/{DEV}/{NAME}">{NAME}</a>' in text
    assert "isn't for the latest" not in text


def test_the_frame_says_when_there_is_a_newer_release(world: World, alice: Person) -> None:
    add_docs(alice, "0.1")
    add_docs(alice, "0.2b1")
    outdated = "The latest available documentation (version {}) isn't for the latest available package version."
    assert "isn't" not in ask(world, "index.html", "latest", "+d").body.decode()
    register(alice, "1.0")
    assert outdated.format("0.2b1") in ask(world, "index.html", "latest", "+d").body.decode()
    assert outdated.format("0.1") in ask(world, "index.html", "stable", "+d").body.decode()
    text = ask(world, "sub/index.html", "0.1", "+d").body.decode()
    assert "isn't" not in text
    assert f'<a href="/{DEV}/{NAME}/latest/+d/index.html">latest documentation (0.2b1)</a>' in text
    assert "stable documentation" not in text


# Hostile archives --------------------------------------------------------------------------------------------------


def hostile_archives() -> dict[str, bytes]:
    link = zipfile.ZipInfo("index.html")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(link, "/etc/passwd")
    good = archive({"index.html": b"x" * 1000})
    return {
        "a link": made.getvalue(),
        "not a zip": b"zip",
        "empty": b"",
        "cut short": good[:-30],
        "with something before": b"#!/bin/sh\n" + good,
        "without members": archive({})[-22:],
    }


@pytest.mark.parametrize("kind", hostile_archives())
@pytest.mark.parametrize("checks", ["strict", "lenient", "none"])
def test_an_archive_that_cannot_be_read_is_refused_unless_nothing_is_checked(
    world: World, alice: Person, kind: str, checks: str
) -> None:
    world.commit(IndexModified(DEV, {"upload_checks": checks}))
    body, is_odd = hostile_archives()[kind], kind in ("a link", "with something before")
    told = upload(alice, DEV, "docs.zip", body, action="doc_upload", version="1.0")
    assert told.status == (200 if checks == "none" or (is_odd and checks == "lenient") else 400)
    if told.status == 400:
        assert "docs.zip" in told.body.decode()
        assert ask(world, "index.html").body == b"No documentation available.\n"


def test_documentation_with_another_digest_than_the_form_says_is_refused(world: World, alice: Person) -> None:
    told = upload(alice, DEV, "docs.zip", archive(PAGES), action="doc_upload", version="1.0", sha256_digest="0" * 64)
    assert (told.status, "sha256_digest" in told.body.decode()) == (400, True)


def damaged() -> bytes:
    """Documentation whose first page is not what its checksum says."""
    return archive({"index.html": b"<h1>right</h1>", "b.html": b"fine"}, method=zipfile.ZIP_STORED).replace(b"right", b"wrong")


def test_a_broken_member_is_refused_and_one_that_is_here_is_not_found(world: World, alice: Person) -> None:
    told = upload(alice, DEV, "docs.zip", damaged(), action="doc_upload", version="1.0")
    assert told.status == 400
    assert "its 'index.html' differs from what the central directory says" in told.body.decode()
    unchecked(world)
    assert is_accepted(upload(alice, DEV, "docs.zip", damaged(), action="doc_upload", version="1.0"))
    status, text = said(ask(world, "index.html"))
    assert (status, "cannot be shown" in text, "differs" in text) == (404, True, True)
    assert ask(world, "b.html").body == b"fine"
    broken = archive({"a.html": b"x" * 1000}).replace(zlib.compress(b"x" * 1000, wbits=-15), b"\xff" * 9)
    upload(alice, DEV, "docs.zip", broken, action="doc_upload", version="1.0")
    assert ask(world, "a.html").status == 404


@pytest.mark.parametrize("kind", hostile_archives())
def test_an_archive_that_cannot_be_read_is_no_error_of_the_server(world: World, alice: Person, kind: str) -> None:
    unchecked(world)
    upload(alice, DEV, "docs.zip", hostile_archives()[kind], action="doc_upload")
    answer = ask(world, "index.html")
    assert answer.status == (200 if kind == "with something before" else 404)
    assert b"root" not in answer.body
    assert serial_of(world)


def test_a_member_that_is_not_what_the_table_says_never_looks_whole(world: World, alice: Person) -> None:
    body = b"<h1>right</h1>" * 10_000
    packed = archive({"index.html": body}, method=zipfile.ZIP_STORED)
    unchecked(world)
    upload(alice, DEV, "docs.zip", packed.replace(b"right", b"wrong"), action="doc_upload")
    wire = Wire(world)
    raw = wire.send(f"GET /{DEV}/{NAME}/1.0/+doc/index.html HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert len(raw.partition(b"\r\n\r\n")[2]) < len(body)


def test_a_bomb_is_unpacked_piece_by_piece() -> None:
    size = 256 * 1024 * 1024
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file, file.open("index.html", "w") as member:
        for _ in range(256):
            member.write(bytes(1024 * 1024))
    content = bomb.getvalue()
    tracemalloc.start()
    member_of = read_contents(io.BytesIO(content), "docs.zip")["index.html"]
    unpacked = sum(len(piece) for piece in unpack(lambda: io.BytesIO(content), "docs.zip", member_of, 0, size))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert unpacked == size
    assert peak < 4 * 1024 * 1024


@given(body=st.binary(max_size=300_000), data=st.data(), method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_any_part_of_any_member_is_what_it_was(body: bytes, data: st.DataObject, method: int) -> None:
    content = archive({"a": os.urandom(10), "b": body, "c": b"c"}, method=method)
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, len(body)))
    member = read_contents(io.BytesIO(content), "docs.zip")["b"]
    assert member.crc == zlib.crc32(body)
    assert b"".join(unpack(lambda: io.BytesIO(content), "docs.zip", member, start, end)) == body[start:end]


def test_a_release_with_documentation_alone_is_registered(world: World, alice: Person) -> None:
    add_docs(alice)
    assert [one["rel"] for one in release(alice, DEV)["+links"]] == ["doczip"]
