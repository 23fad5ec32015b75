"""What several nodes need of an upstream, one of them fetches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.cluster.nodes import Node, reactor
from tests.fakes.upstream import FakeUpstream, Held, Status
from tests.in_reactor import in_reactor, offload, until, wait_for
from tests.mirror.mirror_setup import ShiftableClock, read_all
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.tree import Tree, open_tree
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.mirror.core_metadata import MetadataService, UpstreamMetadata, kept_address
from twistpi.mirror.files import FileService
from twistpi.mirror.links import FileLinks
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import PageService, PageState
from twistpi.mirror.shared import SharedFiles, SharedPages
from twistpi.mirror.shared_metadata import SharedMetadata
from twistpi.mirror.upstream_files import UpstreamFiles
from twistpi.model.changes import IndexCreated
from twistpi.model.errors import NoMetadata, UnknownProject, UpstreamFailed
from twistpi.model.records import Index, KnownFile
from twistpi.rules.mirrors import decide_metadata_missing

WHEEL = "hello-1.0-py3-none-any.whl"
PAGE = "/simple/hello/"
METADATA = b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"


@attrs.frozen
class InFolder:
    """Core metadata from the folder that stands for a bucket, else from the upstream."""

    upstream: UpstreamMetadata
    blobs: Tree

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        kept = kept_address(known_file)
        if kept is not None and self.blobs.find(kept) is not None:
            return kept
        return await self.upstream.bring(index, project, known_file)


@attrs.define(eq=False)
class MirrorNode:
    """A node with a mirror."""

    node: Node
    index: Index
    clock: ShiftableClock
    pages: PageService
    files: FileService
    metadata: MetadataService
    blobs: Tree

    async def page(self, project: str = "hello", *, force: bool = False) -> PageState:
        return await self.pages.ensure(self.index, project, force=force)

    async def file(self) -> bytes:
        found = self.node.readers.get().project(self.index.name, "hello")
        assert found is not None
        return await read_all(self.files.open(self.index, "hello", found.files[0]))

    async def describe(self) -> bytes:
        found = self.node.readers.get().project(self.index.name, "hello")
        assert found is not None
        address = await self.metadata.metadata(self.index, "hello", found.files[0])
        with self.blobs.open(address) as file:
            return file.read()


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    fake = FakeUpstream(reactor).start()
    fake.add_project("hello", {WHEEL: b"wheel" * 1000}, metadata={WHEEL: METADATA})
    yield fake
    wait_for(Deferred.fromCoroutine(fake.stop()))


@pytest.fixture
def mirrors(make_node: Callable[..., Node], upstream: FakeUpstream, tmp_path: Path) -> Iterator[list[MirrorNode]]:
    """Three nodes; their blobs are in one folder, as if it were a bucket."""
    index = Index("root/up", {"type": "mirror", "mirror_url": upstream.index_url})
    nodes = [make_node() for _ in range(3)]
    (tmp_path / "bucket").mkdir()
    made = [_mirror(node, index, tmp_path / "bucket") for node in nodes]
    wait_for(nodes[0].writer.commit(lambda _view: [IndexCreated(index.name, index.config)], "root"))
    for node in nodes:
        wait_for(node.writer.refresh())
    yield made
    for mirror in made:
        mirror.pages.stop()
        mirror.files.stop()
        mirror.metadata.stop()


def _mirror(node: Node, index: Index, folder: Path) -> MirrorNode:
    clock: Any = ShiftableClock()
    client = HTTPClient(make_agent(reactor, {}), clock, offload, reactor.callFromThread, timeout=60, silence=60)
    links, blobs = FileLinks(client, 60), open_tree(str(folder))
    take, reach, writer = node.leases.take, node.listener.reach, node.writer
    source = SharedPages(UpstreamPages(client, node.readers, writer, 60), take, reach, node.readers, writer, clock.seconds)
    files = SharedFiles(UpstreamFiles(client, links, blobs, writer), take, writer.refresh)
    pages = PageService(source, node.readers, clock, request_timeout=60)
    served = FileService(files, blobs, offload)
    found = InFolder(UpstreamMetadata(client, links, served, blobs, writer), blobs)
    metadata = MetadataService(SharedMetadata(found, take, writer.refresh, node.readers), blobs, offload)
    return MirrorNode(node, index, clock, pages, served, metadata, blobs)


@in_reactor
async def test_a_page_that_all_nodes_need_is_requested_once(mirrors: list[MirrorNode], upstream: FakeUpstream) -> None:
    upstream.misbehave(PAGE, held := Held(), 1)
    asking = [Deferred.fromCoroutine(mirror.page()) for mirror in mirrors for _ in range(3)]
    await until(lambda: held.waiting)
    for mirror in mirrors:
        await mirror.node.leases.forget()  # after which each node has tried to take the lease
    held.release()
    states = await gatherResults(asking)
    assert {state.kind for state in states} == {"miss"}
    assert upstream.count(PAGE) == 1
    for mirror in mirrors:
        assert (await mirror.page()).kind == "hit"
        assert mirror.node.rows() == mirrors[0].node.rows()
    assert upstream.count(PAGE) == 1


@in_reactor
async def test_what_one_node_was_told_lately_is_fresh_for_the_others(mirrors: list[MirrorNode], upstream: FakeUpstream) -> None:
    one, two, _three = mirrors
    await one.page()
    await two.page()
    assert upstream.count(PAGE) == 1
    for mirror in mirrors:
        mirror.clock.shift += 1801
    assert (await one.page()).kind == "revalidated"
    assert (await two.page()).kind == "revalidated"
    assert upstream.count(PAGE) == 2
    assert (await two.page(force=True)).kind == "revalidated"
    assert upstream.count(PAGE) == 3


@in_reactor
async def test_a_node_waits_for_another_ones_answer_that_there_is_no_such_project(
    mirrors: list[MirrorNode], upstream: FakeUpstream
) -> None:
    upstream.misbehave("/simple/absent/", held := Held(), 1)
    asking = [Deferred.fromCoroutine(mirror.page("absent")) for mirror in mirrors]
    await until(lambda: held.waiting)
    for mirror in mirrors:
        await mirror.node.leases.forget()
    held.release()
    for asked in asking:
        with pytest.raises(UnknownProject):
            await asked
    assert upstream.count("/simple/absent/") == 1


@in_reactor
async def test_a_node_takes_over_from_one_that_died(url: str, mirrors: list[MirrorNode], upstream: FakeUpstream) -> None:
    dead = await mirrors[0].node.leases.take("page root/up hello", 0.0)
    assert dead is not None
    asking = Deferred.fromCoroutine(mirrors[1].page())
    await mirrors[1].node.leases.forget()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE twistpi_leases SET expires = now()")
    assert (await asking).kind == "miss"
    await dead.end("")


@in_reactor
async def test_a_failure_is_told_to_those_who_waited_and_the_next_one_asks_again(
    mirrors: list[MirrorNode], upstream: FakeUpstream
) -> None:
    upstream.misbehave(PAGE, Status(500), 1)
    with pytest.raises(UpstreamFailed):
        await mirrors[0].page()
    assert (await mirrors[1].page()).kind == "miss"


@in_reactor
async def test_a_file_that_all_nodes_need_is_fetched_once(mirrors: list[MirrorNode], upstream: FakeUpstream) -> None:
    for mirror in mirrors:
        await mirror.page()
    path = next(document for document in upstream.documents if document.endswith(WHEEL))
    upstream.misbehave(path, held := Held(), 1)
    asking = [Deferred.fromCoroutine(mirror.file()) for mirror in mirrors for _ in range(10)]
    await until(lambda: held.waiting)
    for mirror in mirrors:
        await mirror.node.leases.forget()
    held.release()
    assert set(await gatherResults(asking)) == {b"wheel" * 1000}
    assert upstream.count(path) == 1
    await until(lambda: all(mirror.files.is_idle() for mirror in mirrors))
    for mirror in mirrors:
        await mirror.node.writer.refresh()
        assert mirror.node.rows() == mirrors[0].node.rows()


@in_reactor
async def test_core_metadata_that_all_nodes_need_is_requested_once(mirrors: list[MirrorNode], upstream: FakeUpstream) -> None:
    for mirror in mirrors:
        await mirror.page()
    path = next(document for document in upstream.documents if document.endswith(f"{WHEEL}.metadata"))
    upstream.misbehave(path, held := Held(), 1)
    asking = [Deferred.fromCoroutine(mirror.describe()) for mirror in mirrors for _ in range(3)]
    await until(lambda: held.waiting)
    for mirror in mirrors:
        await mirror.node.leases.forget()
    held.release()
    assert set(await gatherResults(asking)) == {METADATA}
    assert upstream.count(path) == 1


class Ended:
    """The lease of a node that looked meanwhile."""

    note = ""
    is_news = True

    async def end(self, note: str) -> bool:
        return note == ""


class Unasked:
    """A source that is not asked."""

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        raise AssertionError(known_file)


@in_reactor
async def test_a_node_is_told_by_another_one_that_a_file_has_no_core_metadata(mirrors: list[MirrorNode]) -> None:
    one, two, _three = mirrors
    await one.page()
    found = one.node.readers.get().project("root/up", "hello")
    assert found is not None
    known = found.files[0]

    async def take(name: str, patience: float) -> Ended:
        assert (name, patience > 0) == (f"metadata root/up {known.path}", True)
        return Ended()

    shared = SharedMetadata(Unasked(), take, two.node.writer.refresh, two.node.readers)
    await one.node.writer.commit(lambda _view: decide_metadata_missing("root/up", "hello", known, "it has none"), "+mirror")
    with pytest.raises(NoMetadata):
        await shared.bring(one.index, "hello", known)


@in_reactor
async def test_a_page_that_one_node_cannot_record_is_asked_for_by_the_others(
    mirrors: list[MirrorNode], upstream: FakeUpstream
) -> None:
    upstream.add_project("large", {f"large-{number}.tar.gz": b"x" for number in range(800)})
    one, two, _three = mirrors
    view: Any = one.node.view
    view.reader._execute("PRAGMA max_page_count = 1")  # SQLite's own limit gives the error of a full disk
    assert (await one.page("large")).reason is not None
    assert (await two.page("large")).reason is None
    assert upstream.count("/simple/large/") == 2
    known = two.node.readers.get().project("root/up", "large")
    assert known is not None
    assert len(known.files) == 800
