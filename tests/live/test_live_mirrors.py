"""A mirror of another twistpi, both real servers."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip
from tests.live.stages import JSON, fetch
from tests.live.test_live_commands import CHEAP, ask, twistpi

WHEEL = wheel_name("hello", "1.0")
CONTENT = make_wheel("hello", "1.0")
METADATA = metadata("hello", "1.0")
DIGEST = hashlib.sha256(CONTENT).hexdigest()


async def page(server: LiveServer, project: str) -> Any:
    """A project's JSON page."""
    return json.loads(await deferToThread(fetch, f"{server.simple}{project}/", JSON))


def fill(upstream: FakeUpstream) -> None:
    extra = {WHEEL: {"requires-python": ">=3.8", "upload-time": "2026-01-02T03:04:05.678901Z", "yanked": "bad"}}
    upstream.add_project("hello", {WHEEL: CONTENT}, metadata={WHEEL: METADATA}, extra=extra)
    upstream.set_names(["hello", "other"])


@in_reactor
async def test_pages_files_metadata_and_lists_pass_through_two_servers(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    fill(upstream)
    await deferToThread(server.start, "--upstream", upstream.index_url, environment=CHEAP)
    await deferToThread(other.start, "--upstream", server.simple, environment=CHEAP)
    far, near = await page(server, "hello"), await page(other, "hello")
    for one in (far, near):
        for file in one["files"]:
            del file["url"]
        del one["meta"]
    assert near == far
    assert near["files"][0]["core-metadata"] == {"sha256": hashlib.sha256(METADATA).hexdigest()}
    file = f"{other.url}/root/pypi/+f/{DIGEST[:3]}/{DIGEST[3:16]}/{WHEEL}"
    assert await deferToThread(fetch, f"{file}.metadata") == METADATA
    assert upstream.count(f"/files/hello/{WHEEL}") == 0, "metadata comes alone"
    assert await deferToThread(fetch, file) == CONTENT
    names = json.loads(await deferToThread(fetch, other.simple, JSON))
    assert {project["name"] for project in names["projects"]} == {"hello", "other"}
    await deferToThread(server.end)
    await upstream.stop()
    python = await deferToThread(Pip("pip").install, tmp_path / "pip", other.simple, "hello==1.0")
    assert python.exists()


@in_reactor
async def test_a_revalidation_is_passed_on_without_bodies(server: LiveServer, other: LiveServer, upstream: FakeUpstream) -> None:
    fill(upstream)
    await deferToThread(server.start, "--upstream", upstream.index_url, "--mirror-cache-expiry", "0", environment=CHEAP)
    await deferToThread(other.start, "--upstream", server.simple, "--mirror-cache-expiry", "0", environment=CHEAP)
    await page(other, "hello")
    entries = len((await deferToThread(twistpi, other, "log", "--json")).splitlines())
    await page(other, "hello")
    assert len((await deferToThread(twistpi, other, "log", "--json")).splitlines()) == entries
    upstream.add_project("hello", {WHEEL: CONTENT, wheel_name("hello", "2.0"): b"new"})
    found = await page(other, "hello")
    assert [file["filename"] for file in found["files"]] == [WHEEL, wheel_name("hello", "2.0")]


@in_reactor
async def test_a_protected_stage_elsewhere_is_mirrored_with_a_token(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream
) -> None:
    fill(upstream)
    await deferToThread(server.start, "--upstream", upstream.index_url, environment=CHEAP)
    await deferToThread(ask, server, "PUT", "/carol", {"password": "swordfish"})
    config = {"bases": "root/pypi", "acl_read": "carol"}
    assert (await deferToThread(ask, server, "PUT", "/carol/team", config, "carol:swordfish"))[0] == 200
    token = (await deferToThread(twistpi, server, "token", "create", "--user", "carol")).strip()
    protected = f"{server.url}/carol/team/+simple/"
    await deferToThread(other.start, "--upstream", protected, environment=CHEAP)
    with pytest.raises(urllib.error.HTTPError, match="502"):
        await page(other, "hello")
    known = protected.replace("http://", f"http://__token__:{token}@")
    change = [f"mirror_url={known}"]
    assert (await deferToThread(ask, other, "PATCH", "/root/pypi", change, "root:"))[0] == 200
    assert [file["filename"] for file in (await page(other, "hello"))["files"]] == [WHEEL]
    shown = (await deferToThread(ask, other, "GET", "/root/pypi?no_projects="))[1]["result"]["mirror_url"]
    assert shown == f"{server.url}/", "nobody is shown the token"
