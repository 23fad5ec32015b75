"""Mirrors that are reconfigured, deleted and made anew: a fetch under way never ends in an index it was not for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.fakes.upstream import JSON, Document, FakeUpstream, Held, Silent, Status, WithHeaders
from tests.in_reactor import in_reactor, until, wait_for
from tests.mirror.mirror_setup import Setup, reactor, start
from tests.mirror.test_mirror_names import json_names
from twistpi.mirror.name_store import home_of
from twistpi.model.changes import FileCached, IndexCreated, IndexDeleted, LinksChanged, MetadataCached
from twistpi.model.errors import NoMetadata, UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable
from twistpi.model.records import Index

WHEEL = "hello-1.0-py3-none-any.whl"
OTHER_WHEEL = "hello-9.0-py3-none-any.whl"
PAGE = "/simple/hello/"
LIST = "/simple/"
WHEEL_URL = f"/files/hello/{WHEEL}"


@pytest.fixture
def other() -> Iterator[FakeUpstream]:
    """Where the mirror is aimed next."""
    upstream = FakeUpstream(reactor).start()
    upstream.add_project("hello", {OTHER_WHEEL: b"other"})
    upstream.set_names(["hello", "other"])
    yield upstream
    wait_for(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture
def patient(make_setup: Callable[..., Setup]) -> Setup:
    """A mirror whose upstream has a project and a list of projects."""
    setup = make_setup()
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.set_names(["hello"])
    return setup


def filenames(setup: Setup, index: str = "root/up") -> set[str]:
    known = setup.reader.project(index, "hello")
    return set() if known is None else {file.link.filename for file in known.files}


async def hold(setup: Setup, path: str, work: Any) -> tuple[Held, Deferred[Any]]:
    """Begin ``work`` and return when the upstream has its question for ``path``."""
    held = Held()
    before = setup.fake.count(path)
    setup.fake.misbehave(path, held, times=1)
    working = start(work)
    await until(lambda: setup.fake.count(path) > before)
    return held, working


# Pages -----------------------------------------------------------------------------------------------------------------


@in_reactor
async def test_what_the_old_upstream_says_after_the_mirror_was_aimed_elsewhere_is_dropped(
    patient: Setup, other: FakeUpstream
) -> None:
    held, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello"))
    await patient.set_up(mirror_url=other.index_url)
    held.release()
    state = await waiting
    assert (state.kind, state.source) == ("miss", f"{other.url}/")
    assert filenames(patient) == {OTHER_WHEEL}


@in_reactor
async def test_nobody_waits_for_the_old_upstream_once_the_mirror_is_aimed_elsewhere(patient: Setup, other: FakeUpstream) -> None:
    held, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello"))
    await patient.set_up(mirror_url=other.index_url)
    assert (await patient.mirror.ensure(patient.index, "hello")).source == f"{other.url}/"
    assert not waiting.called
    held.release()
    assert (await waiting).kind == "hit"
    assert filenames(patient) == {OTHER_WHEEL}
    assert len(patient.changes(LinksChanged)) == 1


@in_reactor
async def test_who_waits_for_a_page_of_an_index_that_is_deleted_hears_that_it_is_gone(patient: Setup) -> None:
    held, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello"))
    await patient.commit(IndexDeleted("root/up"))
    held.release()
    with pytest.raises(UnknownIndex):
        await waiting
    assert patient.changes(LinksChanged) == []
    assert patient.reader.freshness("root/up", "hello") is None


@in_reactor
async def test_who_waits_for_an_unknown_project_of_an_index_that_is_deleted_hears_that_the_index_is_gone(patient: Setup) -> None:
    held, waiting = await hold(patient, "/simple/nope/", patient.mirror.ensure(patient.index, "nope"))
    await patient.commit(IndexDeleted("root/up"))
    held.release()
    with pytest.raises(UnknownIndex):
        await waiting


@in_reactor
async def test_an_index_made_anew_as_a_stage_learns_nothing_from_the_mirror_it_was(patient: Setup) -> None:
    held, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello"))
    await patient.commit(IndexDeleted("root/up"), IndexCreated("root/up", {"type": "stage", "bases": []}))
    held.release()
    with pytest.raises(UnknownProject):
        await waiting
    assert not patient.reader.has_project("root/up", "hello")


@in_reactor
async def test_a_confirmation_for_the_index_that_was_is_none_for_the_one_made_anew(patient: Setup) -> None:
    await patient.mirror.ensure(patient.index, "hello")
    held, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello", force=True))
    assert patient.fake.seen[-1].header("If-None-Match") is not None
    await patient.make_anew()
    held.release()
    assert (await waiting).kind == "miss"
    assert filenames(patient) == {WHEEL}
    assert patient.fake.seen[-1].header("If-None-Match") is None


@in_reactor
async def test_that_a_project_is_gone_upstream_says_nothing_of_the_index_made_anew(patient: Setup, other: FakeUpstream) -> None:
    await patient.mirror.ensure(patient.index, "hello")
    del patient.fake.documents[PAGE]
    held, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello", force=True))
    await patient.make_anew(mirror_url=other.index_url)
    await patient.mirror.ensure(patient.index, "hello")
    held.release()
    await waiting
    assert not patient.project("hello").vanished
    assert filenames(patient) == {OTHER_WHEEL}


@in_reactor
async def test_the_old_upstream_failing_after_the_mirror_left_it_harms_nobody(patient: Setup, other: FakeUpstream) -> None:
    _, waiting = await hold(patient, PAGE, patient.mirror.ensure(patient.index, "hello"))
    await patient.set_up(mirror_url=other.index_url)
    await patient.fake.stop()
    assert (await waiting).source == f"{other.url}/"


@in_reactor
async def test_a_failure_or_absence_that_is_remembered_is_the_former_upstreams(
    make_setup: Callable[..., Setup], other: FakeUpstream
) -> None:
    setup = make_setup()
    with pytest.raises(UnknownProject):
        await setup.mirror.ensure(setup.index, "hello")
    setup.fake.misbehave("/simple/broken/", Status(500))
    with pytest.raises(UpstreamFailed):
        await setup.mirror.ensure(setup.index, "broken")
    other.add_project("broken", {})
    await setup.set_up(mirror_url=other.index_url)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    assert (await setup.mirror.ensure(setup.index, "broken")).kind == "miss"


@in_reactor
async def test_a_corrected_password_takes_effect_at_once(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.user = "me:right"
    await setup.set_up(mirror_url=setup.fake.index_url.replace("right", "wrong"))
    with pytest.raises(UpstreamFailed, match="401"):
        await setup.mirror.ensure(setup.index, "hello")
    await setup.set_up(mirror_url=setup.fake.index_url)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"


@in_reactor
async def test_accepting_older_serials_takes_effect_at_once(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.misbehave(PAGE, WithHeaders({"X-PyPI-Last-Serial": "20"}), times=1)
    setup.fake.misbehave(PAGE, WithHeaders({"X-PyPI-Last-Serial": "10"}))
    await setup.mirror.ensure(setup.index, "hello")
    setup.fake.add_project("hello", {OTHER_WHEEL: b"other"})
    state = await setup.mirror.ensure(setup.index, "hello", force=True)
    assert state.kind == "stale"
    assert "serial 10, older than 20" in (state.reason or "")
    assert filenames(setup) == {WHEEL}
    setup.clock.shift += 1801
    await setup.set_up(mirror_ignore_serial_header=True)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"
    assert filenames(setup) == {OTHER_WHEEL}


@in_reactor
async def test_another_expiry_takes_effect_at_once_also_for_what_is_missing(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    with pytest.raises(UnknownProject):
        await setup.mirror.ensure(setup.index, "late")
    setup.fake.add_project("late", {"late-1.0.tar.gz": b"late"})
    setup.clock.shift += 10
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "hit"
    with pytest.raises(UnknownProject):
        await setup.mirror.ensure(setup.index, "late")
    await setup.set_up(mirror_cache_expiry=5)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "revalidated"
    assert (await setup.mirror.ensure(setup.index, "late")).kind == "miss"


@in_reactor
async def test_a_mirror_that_lost_its_address_serves_what_it_knows_and_says_what_to_do(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    await setup.make_anew()
    await setup.mirror.ensure(setup.index, "hello")
    await setup.set_up(mirror_url="")
    state = await setup.mirror.ensure(setup.index, "hello")
    assert (state.kind, state.source) == ("stale", "")
    assert "devpi index root/up mirror_url=" in (state.reason or "")
    for asking in (setup.mirror.ensure(setup.index, "other"), setup.names.ensure(setup.index)):
        with pytest.raises(UpstreamFailed, match="has no mirror_url; set one with devpi index root/up") as refused:
            await asking
        assert refused.value.status == 502


# Beside each other -----------------------------------------------------------------------------------------------------


@in_reactor
async def test_mirrors_beside_each_other_keep_their_pages_lists_and_failures_apart(setup: Setup, other: FakeUpstream) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    setup.fake.set_names(["hello"])
    second = Index("root/other", {"type": "mirror", "mirror_url": other.index_url})
    dead = Index("root/dead", {"type": "mirror", "mirror_url": setup.fake.index_url.replace("simple", "silent")})
    await setup.commit(IndexCreated(second.name, second.config), IndexCreated(dead.name, dead.config))
    setup.fake.misbehave("/silent/hello/", Silent())
    asking = start(setup.mirror.ensure(dead, "hello"))
    await setup.keep_waiting()
    with pytest.raises(UpstreamUnreachable):
        await asking
    states = await gatherResults([start(setup.mirror.ensure(index, "hello")) for index in (setup.index, second)])
    assert [state.kind for state in states] == ["miss", "miss"]
    assert filenames(setup) == {WHEEL}
    assert filenames(setup, second.name) == {OTHER_WHEEL}
    lists = await gatherResults([start(setup.names.ensure(index)) for index in (setup.index, second)])
    assert [json_names(found) for found in lists] == [{"hello"}, {"hello", "other"}]
    await setup.commit(IndexDeleted(second.name))
    assert filenames(setup) == {WHEEL}
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "hit"
    assert (await setup.names.ensure(setup.index)).kind == "hit"


# A mirror of devpi -----------------------------------------------------------------------------------------------------

DEVPI_JSON = """{"meta":{"api-version":"1.0"},"name":"hello","files":[
 {"filename": "%s", "url": "../../+f/%s/%s/%s",
  "hashes": {"sha256": "%s"}, "core-metadata": true, "requires-python": "", "yanked": "bad \\"one\\""}]}
"""
DEVPI_HTML = """<!DOCTYPE html><html lang="en"><head><title>alice/dev: links for hello</title></head><body>
<h1>alice/dev: links for hello</h1>
<form action="http://devpi.example/alice/dev/+simple/hello/refresh" method="post"><input type="submit" value="Refresh"></form>
alice/dev <a href="../../+f/%s/%s/%s#sha256=%s" data-requires-python="">%s</a><br>
</body></html>
"""


@pytest.mark.parametrize("form", ["json", "html"])
@in_reactor
async def test_the_pages_of_a_devpi_server_are_understood(setup: Setup, form: str) -> None:
    digest = hashlib.sha256(b"wheel").hexdigest()
    path = (digest[:3], digest[3:16], WHEEL)
    body = DEVPI_JSON % (WHEEL, *path, digest) if form == "json" else DEVPI_HTML % (*path, digest, WHEEL)
    page = Document(body.encode(), JSON if form == "json" else "text/html; charset=UTF-8")
    setup.fake.documents["/alice/dev/+simple/hello/"] = page
    setup.fake.add_file("/alice/dev/+f/" + "/".join(path), b"wheel")
    await setup.set_up(mirror_url=f"{setup.fake.url}/alice/dev/+simple/")
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    assert await setup.download("hello", WHEEL) == b"wheel"
    assert setup.file("hello", WHEEL).link.yanked == ('bad "one"' if form == "json" else False)


# Files -----------------------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_file_on_its_way_when_its_index_is_deleted_reaches_its_reader_and_is_not_recorded(patient: Setup) -> None:
    await patient.mirror.ensure(patient.index, "hello")
    held, reading = await hold(patient, WHEEL_URL, patient.download("hello", WHEEL))
    await patient.commit(IndexDeleted("root/up"))
    held.release()
    assert await reading == b"wheel"
    await patient.quiet()
    assert patient.changes(FileCached) == []


@in_reactor
async def test_a_file_comes_from_the_new_upstream_while_the_old_one_hangs(patient: Setup, other: FakeUpstream) -> None:
    await patient.mirror.ensure(patient.index, "hello")
    held, reading = await hold(patient, WHEEL_URL, patient.download("hello", WHEEL))
    other.add_project("hello", {WHEEL: b"wheel"})
    await patient.set_up(mirror_url=other.index_url)
    await patient.mirror.ensure(patient.index, "hello")
    assert await patient.download("hello", WHEEL) == b"wheel"
    assert other.count(WHEEL_URL) == 1
    held.release()
    assert await reading == b"wheel"
    await patient.quiet()
    assert len(patient.changes(FileCached)) == 1


@in_reactor
async def test_metadata_on_its_way_when_its_index_is_deleted_is_not_recorded(patient: Setup) -> None:
    metadata = b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"
    patient.fake.add_project("hello", {WHEEL: b"wheel"}, metadata={WHEEL: metadata})
    await patient.mirror.ensure(patient.index, "hello")
    work = patient.core_metadata.metadata(patient.index, "hello", patient.file("hello", WHEEL))
    held, asking = await hold(patient, f"{WHEEL_URL}.metadata", work)
    await patient.commit(IndexDeleted("root/up"))
    held.release()
    await asking
    assert patient.changes(MetadataCached) == []


@in_reactor
async def test_that_the_upstream_has_unannounced_metadata_takes_effect_at_once(setup: Setup) -> None:
    sdist = "hello-1.0.tar.gz"
    setup.fake.add_project("hello", {sdist: b"sdist"})
    setup.fake.add_file(f"/files/hello/{sdist}.metadata", b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    await setup.mirror.ensure(setup.index, "hello")
    with pytest.raises(NoMetadata):
        await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", sdist))
    await setup.set_up(mirror_provides_core_metadata=True)
    await setup.core_metadata.metadata(setup.index, "hello", setup.file("hello", sdist))
    assert len(setup.changes(MetadataCached)) == 1


# Name lists ------------------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_name_list_that_comes_from_the_old_upstream_is_dropped(patient: Setup, other: FakeUpstream) -> None:
    held, waiting = await hold(patient, LIST, patient.names.ensure(patient.index))
    await patient.set_up(mirror_url=other.index_url)
    found = await patient.names.ensure(patient.index)
    assert json_names(found) == {"hello", "other"}
    held.release()
    assert json_names(await waiting) == {"hello", "other"}
    assert (await patient.names.ensure(patient.index)).folder == found.folder
    assert os.path.exists(found.folder)


@in_reactor
async def test_the_name_list_of_a_deleted_index_is_removed_and_a_late_one_does_not_come_back(patient: Setup) -> None:
    home = home_of(str(patient.folder / "names"), "root/up")
    await patient.names.ensure(patient.index)
    held, waiting = await hold(patient, LIST, patient.names.ensure(patient.index, force=True))
    patient.fake.documents[LIST].etag = None
    await patient.commit(IndexDeleted("root/up"))
    held.release()
    with pytest.raises(UnknownIndex):
        await waiting
    await until(lambda: not os.path.exists(home) or os.listdir(home) == [])


@in_reactor
async def test_an_index_made_anew_has_no_name_list_yet(patient: Setup) -> None:
    await patient.names.ensure(patient.index)
    await patient.make_anew()
    patient.fake.set_names(["hello", "new"])
    found = await patient.names.ensure(patient.index)
    assert (found.kind, json_names(found)) == ("miss", {"hello", "new"})


@in_reactor
async def test_that_an_upstream_has_no_list_takes_effect_at_once(setup: Setup) -> None:
    setup.fake.set_names(["hello"])
    await setup.names.ensure(setup.index)
    await setup.set_up(mirror_no_project_list=True)
    with pytest.raises(UpstreamFailed, match="mirror_no_project_list"):
        await setup.names.ensure(setup.index)
    await setup.set_up(mirror_no_project_list=False)
    assert (await setup.names.ensure(setup.index)).kind == "hit"
