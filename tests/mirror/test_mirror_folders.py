"""Folders on the server's own disk as upstreams."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.upstream import Redirect
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor, until
from tests.mirror.mirror_setup import Setup, offload, read_all
from tests.mirror.test_mirror_flat import names_of
from tests.mirror.test_mirror_names import json_names
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.folders import Folders
from twistpi.model.errors import UnknownProject, UpstreamFailed, UpstreamUnreachable

WHEEL, SECOND = wheel_name("hello", "1.0"), wheel_name("hello", "2.0")
CONTENT = make_wheel("hello", "1.0", payload=os.urandom(300_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of two projects, and others."""
    folder = tmp_path / "srv" / "our wheels"
    folder.mkdir(parents=True)
    (folder / WHEEL).write_bytes(CONTENT)
    (folder / "other_one-1.0.tar.gz").write_bytes(b"no archive")
    (folder / "notes.txt").write_text("not for sale")
    return folder


@pytest.fixture
def setup(make_setup: Callable[..., Setup], folder: Path) -> Setup:
    setup = make_setup(mirror_url=folder.as_uri())
    setup.upstream.folders = Folders([str(folder.parent)], offload)
    return setup


@in_reactor
async def test_a_folder_is_a_mirror_of_the_distributions_in_it(setup: Setup, folder: Path) -> None:
    state = await setup.mirror.ensure(setup.index, "hello")
    assert (state.kind, state.source) == ("miss", "file:///"), "the path is not for everybody"
    with pytest.raises(UnknownProject):
        await setup.mirror.ensure(setup.index, "notes")
    assert json_names(await setup.names.ensure(setup.index)) == {"hello", "other-one"}
    link = setup.file("hello", WHEEL).link
    assert (link.size, link.hashes) == (len(CONTENT), {})
    assert link.upload_time is not None
    address = await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", WHEEL))
    with setup.blobs.open(address) as found:
        assert found.read() == metadata("hello", "1.0")
    assert not setup.file("hello", WHEEL).cached, "the metadata is read from the end of the wheel"
    assert await setup.download("hello", WHEEL) == CONTENT
    await until(lambda: setup.file("hello", WHEEL).cached)
    (folder / SECOND).write_bytes(CONTENT)
    setup.clock.shift += 1801
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"
    assert names_of(setup, "hello") == {WHEEL, SECOND}
    changes = len(setup.announced)
    setup.clock.shift += 1801
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"
    assert len(setup.announced) == changes, "nothing is new"


@in_reactor
async def test_what_was_read_is_served_when_the_folder_is_gone(setup: Setup, folder: Path) -> None:
    (folder / SECOND).write_bytes(CONTENT)
    await setup.mirror.ensure(setup.index, "hello")
    await setup.download("hello", WHEEL)
    await until(lambda: setup.file("hello", WHEEL).cached)
    shutil.rmtree(folder)
    setup.clock.shift += 1801
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "stale", "a disk that is not mounted says nothing"
    assert not setup.project("hello").vanished
    with pytest.raises(UpstreamUnreachable, match="its folder cannot be read: No such file or directory"):
        await setup.download("hello", SECOND)


@in_reactor
async def test_bytes_that_are_not_what_the_name_says_are_not_kept(setup: Setup) -> None:
    await setup.mirror.ensure(setup.index, "other-one")
    with pytest.raises(Exception, match="other_one"):
        await setup.download("other-one", "other_one-1.0.tar.gz")
    assert not setup.file("other-one", "other_one-1.0.tar.gz").cached


@in_reactor
async def test_no_link_leads_out_of_the_folder(setup: Setup, folder: Path) -> None:
    outside = folder.parent / SECOND
    outside.write_bytes(CONTENT)
    (folder / SECOND).symlink_to(outside)
    (folder / wheel_name("hello", "3.0")).symlink_to(WHEEL)
    (folder / wheel_name("hello", "4.0")).symlink_to("/dev/zero")
    os.mkfifo(folder / wheel_name("hello", "5.0"))
    await setup.mirror.ensure(setup.index, "hello")
    assert names_of(setup, "hello") == {WHEEL, wheel_name("hello", "3.0")}
    get = setup.upstream.get
    for name in (SECOND, wheel_name("hello", "4.0"), wheel_name("hello", "5.0"), "none-1.0.zip"):
        assert (await get(f"{folder.as_uri()}/{name}")).status == 404
    for path in (f"{folder}/../{SECOND}", f"{folder}/%2e%2e/{SECOND}", f"{folder}/..%2f{SECOND}"):
        with pytest.raises(RequestFailed, match=r"\.\. in its path"):
            await get(f"file://{path.replace(' ', '%20')}")


@in_reactor
async def test_only_folders_that_were_named_are_read(setup: Setup, folder: Path, tmp_path: Path) -> None:
    for allowed in ([], [str(tmp_path / "other")], [f"{folder}s"]):
        setup.upstream.folders = Folders(allowed, offload)
        with pytest.raises(UpstreamFailed, match="see the setting local-folders"):
            await setup.mirror.ensure(setup.index, "hello", force=True)
    way_out = tmp_path / "other"
    way_out.symlink_to(folder)
    setup.upstream.folders = Folders([str(way_out)], offload)
    assert (await setup.mirror.ensure(setup.index, "hello", force=True)).kind == "miss", "the folder that is named may be a link"


@in_reactor
async def test_no_web_page_and_no_redirect_leads_to_a_folder(make_setup: Callable[..., Setup], folder: Path) -> None:
    setup = make_setup()
    setup.upstream.folders = Folders([str(folder)], offload)
    setup.fake.add_project("hello", {WHEEL: CONTENT}, extra={WHEEL: {"url": f"{folder.as_uri()}/{WHEEL}"}})
    await setup.mirror.ensure(setup.index, "hello")
    assert not setup.project("hello").offered
    setup.fake.misbehave("/simple/moved/", Redirect(f"{folder.as_uri()}/"))
    with pytest.raises(RequestFailed) as failed:
        await setup.upstream.get(f"{setup.fake.url}/simple/moved/")
    assert failed.value.cause is Cause.REDIRECT


@in_reactor
async def test_many_readers_of_a_file_read_the_disk_once(setup: Setup, folder: Path) -> None:
    await setup.mirror.ensure(setup.index, "hello")
    known = setup.file("hello", WHEEL)
    downloads = [setup.downloads.open(setup.index, "hello", known) for _ in range(3)]
    assert downloads[0] is downloads[1] is downloads[2]
    assert [await read_all(download) for download in downloads] == [CONTENT] * 3
    await setup.quiet()
