"""The endpoints where other servers get blobs and mirrors' answers: only they may, and others are told why not."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

import attrs
import orjson
import pytest
from twisted.web.http_headers import Headers

from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.replication.fake_primary import client_for
from tests.replication.two_servers import MIRROR, SECRET, STAGE, Answer, Server
from twistpi.auth.tokens import NodeTokens
from twistpi.blobs.address import blob_address
from twistpi.replication.blob_batch import BEGINNING, END, begin_line, missing_line
from twistpi.replication.primary import Primary

WHEEL = "demo-1.0-py3-none-any.whl"
CONTENT = bytes(range(256)) * 1000
BLOB = f"/+blob/{blob_address(sha256(CONTENT).hexdigest(), WHEEL).relative}"


@attrs.define
class Principal:
    """Another server with the same secret."""

    primary: Primary

    @classmethod
    def of(cls, server: Server) -> Principal:
        return cls(Primary(server.url, "5" * 32, client_for(server.url)[0], NodeTokens(SECRET), os.urandom))

    async def get(self, path: str, **headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.primary.ask("GET", path, headers=fields)
        return Answer(answer.status, answer.headers, await answer.read(1 << 26))

    async def post(self, path: str, told: Any) -> Answer:
        body = told if isinstance(told, bytes) else orjson.dumps(told)
        answer = await self.primary.ask("POST", path, body=body)
        return Answer(answer.status, answer.headers, await answer.read(1 << 26))


def one(headers: Headers, name: str) -> str | None:
    values = headers.getRawHeaders(name)
    return values[0] if values else None


@in_reactor
async def test_nobody_without_the_secret_gets_a_byte_not_even_of_what_a_server_just_got(
    primary: Server, fake: FakeUpstream
) -> None:
    fake.add_project("hello", {"hello-1.0.zip": CONTENT})
    fake.set_names(["hello"])
    await primary.commit(*primary.upload(WHEEL, CONTENT))
    await primary.components.mirrors.pages.ensure(primary.index, "hello")
    path = primary.file("hello", "hello-1.0.zip").path
    principal = Principal.of(primary)
    for target in (BLOB, f"/+relay/file/{MIRROR}/{path}", f"/+relay/names/{MIRROR}"):
        assert (await principal.get(target)).status == 200
        for headers in ({}, {"Authorization": "Basic cm9vdDo="}, {"Authorization": "Twistpi-Node abc"}):
            refused = await primary.get(target, **headers)
            assert (refused.status, orjson.loads(refused.body)["error"]) == (403, "NodeRefused")


@in_reactor
async def test_a_blob_is_sent_whole_and_in_parts_with_its_digest_for_a_tag(primary: Server) -> None:
    await primary.commit(*primary.upload(WHEEL, CONTENT))
    principal = Principal.of(primary)
    whole = await principal.get(BLOB)
    tag = f'"{sha256(CONTENT).hexdigest()}"'
    assert (whole.status, whole.body == CONTENT, one(whole.headers, "ETag")) == (200, True, tag)
    assert one(whole.headers, "Cache-Control") == "no-store"
    assert one(whole.headers, "X-Twistpi-Time") is not None
    part = await principal.get(BLOB, Range="bytes=1000-", If_Range=tag)
    assert (part.status, part.body == CONTENT[1000:]) == (206, True)
    assert one(part.headers, "Content-Range") == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert (await principal.get(BLOB, Range="bytes=1000-", If_Range='"other"')).status == 200
    assert (await principal.get(BLOB, Range="bytes=9999999-")).status == 416


@in_reactor
async def test_blobs_that_nothing_names_or_that_are_lost_are_refused_by_name(primary: Server) -> None:
    orphan = blob_address(sha256(b"orphan").hexdigest(), "orphan-1.0.zip")
    primary.put(b"orphan", orphan)
    await primary.commit(*primary.upload(WHEEL, CONTENT))
    primary.blobs.remove(blob_address(sha256(CONTENT).hexdigest(), WHEEL))
    principal = Principal.of(primary)
    for path, status, error in (
        (f"/+blob/{orphan.relative}", 404, "UnknownFile"),
        ("/+blob/xyz/0123456789abc/demo.zip", 404, "UnknownFile"),
        (BLOB, 500, "FileLost"),
    ):
        answer = await principal.get(path)
        assert (answer.status, orjson.loads(answer.body)["error"]) == (status, error)


@in_reactor
async def test_many_blobs_come_in_the_order_they_were_asked_for(primary: Server) -> None:
    await primary.commit(*primary.upload(WHEEL, CONTENT), *primary.upload("a b-1.0.zip", b""))
    wanted = [
        ("a" * 16, "unknown-1.0.zip"),
        (sha256(CONTENT).hexdigest()[:16], WHEEL),
        (sha256(b"").hexdigest()[:16], "a b-1.0.zip"),
    ]
    answer = await Principal.of(primary).post("/+blobs", wanted)
    expected = [missing_line(*wanted[0]), begin_line(*wanted[1], len(CONTENT)), CONTENT, begin_line(*wanted[2], 0)]
    assert (answer.status, answer.body == b"".join([BEGINNING, *expected, END])) == (200, True)


@pytest.mark.parametrize(
    "told", [b"{", {}, [["0" * 16]], [["0" * 16, "../x"]], ["demo"], [5], [["0" * 16, "x.zip"]] * 1001], ids=str
)
@in_reactor
async def test_what_is_no_list_of_blobs_is_refused(primary: Server, told: Any) -> None:
    assert (await Principal.of(primary).post("/+blobs", told)).status == 400


@pytest.mark.parametrize(
    ("path", "told", "status", "error"),
    [
        ("/+relay/page", {"index": "no/such", "project": "hello"}, 404, "UnknownIndex"),
        ("/+relay/page", {"index": STAGE, "project": "hello"}, 404, "UnknownProject"),
        ("/+relay/page", {"index": MIRROR, "project": "nothing"}, 404, "UnknownProject"),
        ("/+relay/page", {"index": MIRROR, "project": "-"}, 400, "InvalidName"),
        ("/+relay/page", {"index": MIRROR}, 400, "BadRequest"),
        ("/+relay/page", [MIRROR, "hello"], 400, "BadRequest"),
        ("/+relay/metadata", {"index": MIRROR, "project": "nothing", "path": "+f/a/b/nothing-1.0.zip"}, 404, "UnknownFile"),
        ("/+relay/metadata", {"index": STAGE, "project": "demo", "path": "+f/a/b/demo-1.0.zip"}, 404, "UnknownFile"),
    ],
)
@in_reactor
async def test_questions_about_mirrors_that_have_no_answer_are_refused_by_name(
    primary: Server, path: str, told: Any, status: int, error: str
) -> None:
    answer = await Principal.of(primary).post(path, told)
    assert (answer.status, orjson.loads(answer.body)["error"]) == (status, error)


@in_reactor
async def test_what_is_learned_is_told_with_the_serial_that_has_it(primary: Server, fake: FakeUpstream) -> None:
    fake.add_project("hello", {"hello-1.0.zip": CONTENT})
    principal = Principal.of(primary)
    first = orjson.loads((await principal.post("/+relay/page", {"index": MIRROR, "project": "Hello"})).body)
    assert (first["kind"], first["serial"]) == ("miss", primary.changelog.last.serial)
    again = orjson.loads((await principal.post("/+relay/page", {"index": MIRROR, "project": "hello"})).body)
    assert (again["kind"], again["reason"]) == ("hit", None)
    forced = orjson.loads((await principal.post("/+relay/page", {"index": MIRROR, "project": "hello", "force": True})).body)
    assert (forced["kind"], fake.count("/simple/hello/")) == ("revalidated", 2)


@in_reactor
async def test_a_name_list_is_confirmed_without_being_sent(primary: Server, fake: FakeUpstream) -> None:
    fake.set_names(["one", "two"])
    principal = Principal.of(primary)
    first = await principal.get(f"/+relay/names/{MIRROR}")
    tag = one(first.headers, "ETag")
    assert tag is not None
    again = await principal.get(f"/+relay/names/{MIRROR}", If_None_Match=tag)
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert float(one(again.headers, "X-Twistpi-Age") or "nothing") >= 0
