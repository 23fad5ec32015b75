"""A world so small that its links, files and projects meet all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.strategies import changes as any_changes
from twistpi.model.changes import (
    Change,
    Entry,
    FileCached,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
)
from twistpi.model.peers import Position
from twistpi.model.records import Link
from twistpi.model.releases import FileRemoved
from twistpi.rules.mirrors import file_path
from twistpi.view.database import ViewDatabase
from twistpi.view.read import KeptBlob, Reader
from twistpi.view.read_releases import BEGINNING, Mark

AT = "2026-11-22T17:00:00.123456Z"
INDEX = "root/pypi"
LOG = "a" * 32
OTHER_LOG = "b" * 32

DIGESTS = [sha256(b"%d" % number).hexdigest() for number in range(3)]
TWIN = DIGESTS[0][:16] + "0" * 48
"""Begins with the same sixteen digits as ``DIGESTS[0]``."""
FILENAMES = ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz", "demo-2.0.zip"]


def digests() -> SearchStrategy[str]:
    return st.sampled_from([*DIGESTS, TWIN])


def small_links() -> SearchStrategy[Link]:
    """Links that are often of the same file, or of another in its place."""
    return st.builds(
        Link,
        filename=st.sampled_from(FILENAMES),
        url=st.sampled_from(["https://one.example/a/x", "https://one.example/b/x"]),
        hashes=st.just({})
        | st.builds(lambda digest: {"sha256": digest}, digests())
        | st.builds(lambda digest: {"md5": digest[:32]}, digests())
        | st.builds(lambda one, other: {"sha256": one, "md5": other[:32]}, digests(), digests()),
        size=st.none() | st.integers(1, 2),
        yanked=st.booleans() | st.just("broken"),
        core_metadata=st.none() | st.booleans(),
    )


def small_changes() -> SearchStrategy[Change]:
    """Changes of every kind, mostly about two projects of one index."""
    index, project = st.sampled_from([INDEX, INDEX, "alice/mirror"]), st.sampled_from(["demo", "demo", "other"])
    filename, size = st.sampled_from(FILENAMES), st.integers(1, 2)
    paths = st.none() | st.none() | st.builds(file_path, small_links())
    links = st.lists(small_links(), max_size=3).map(tuple)
    filenames = st.lists(filename, max_size=2).map(tuple)
    versions = st.lists(st.sampled_from(["1.0", "2.0", "3.0"]), max_size=2).map(tuple)
    return st.one_of(
        st.builds(LinksChanged, index, project, links, links, filenames, versions, versions),
        st.builds(LinksChanged, index, project, links),
        st.builds(ProjectVanished, index, project),
        st.builds(FileCached, index, project, filename, digests(), size, paths),
        st.builds(MetadataCached, index, project, filename, digests(), size, paths),
        st.builds(MetadataMissing, index, project, filename, st.just("no metadata"), paths),
        st.builds(FileRemoved, index, project, filename),
        st.builds(IndexCreated, index, st.just({"type": "mirror", "volatile": False})),
        st.builds(IndexDeleted, index),
        st.builds(IndexModified, index, st.just({"title": "other"}), st.sampled_from([(), ("volatile",)])),
        any_changes(index, project),
    )


def frequent_changes() -> SearchStrategy[Change]:
    """Changes of the kinds that nearly all entries of a long log are, about few files."""
    project, filename = st.sampled_from(["demo", "other"]), st.sampled_from(FILENAMES)
    links = st.lists(small_links(), max_size=3).map(tuple)
    return st.one_of(
        st.builds(LinksChanged, st.just(INDEX), project, links, versions_added=st.just(("1.0", "2.0"))),
        st.builds(FileCached, st.just(INDEX), project, filename, digests(), st.integers(1, 2)),
        st.builds(MetadataCached, st.just(INDEX), project, filename, digests(), st.integers(1, 2)),
        st.builds(FileRemoved, st.just(INDEX), project, filename),
    )


def histories(changes: Callable[[], SearchStrategy[Change]] = small_changes) -> SearchStrategy[list[tuple[Change, ...]]]:
    """What the entries 1, 2, 3 … of a log say."""
    return st.lists(st.lists(changes(), min_size=1, max_size=3).map(tuple), max_size=12)


def place(serial: int) -> Position:
    """Some position whose serial is ``serial``."""
    return Position(serial, f"{serial:064x}", 1, serial * 100)


def entries(history: Iterable[Sequence[Change]], first: int = 1) -> list[Entry]:
    """``history`` as entries from serial ``first`` on."""
    return [Entry(serial, AT, "+mirror", tuple(changes)) for serial, changes in enumerate(history, first)]


def fold(view: ViewDatabase, *changes: Change) -> None:
    """One more entry, committed."""
    fold_history(view, [changes])


def fold_history(view: ViewDatabase, history: Iterable[Sequence[Change]]) -> None:
    """More entries, committed together."""
    serial = view.position.serial
    view.begin()
    for entry in entries(history, serial + 1):
        view.apply(entry)
        serial = entry.serial
    view.commit(place(serial))


def link(filename: str = FILENAMES[0], sha256: str | None = DIGESTS[0], **more: object) -> Link:
    """A link with the SHA-256 ``sha256``, or without one."""
    hashes = {} if sha256 is None else {"sha256": sha256}
    return Link(filename, **{"url": f"https://one.example/a/{filename}", "hashes": hashes, **more})  # type: ignore[arg-type]


def listed(*links: Link, **more: object) -> LinksChanged:
    """``links`` are added to the project ``demo``."""
    return LinksChanged(INDEX, "demo", added=links, **more)  # type: ignore[arg-type]


def changed(*links: Link) -> LinksChanged:
    """``links`` of the project ``demo`` are changed."""
    return LinksChanged(INDEX, "demo", changed=links)


def removed(*filenames: str) -> LinksChanged:
    """Files of the project ``demo`` are listed no more."""
    return LinksChanged(INDEX, "demo", removed=filenames)


def cached(filename: str = FILENAMES[0], sha256: str = DIGESTS[0], size: int = 5, path: str | None = None) -> FileCached:
    """A file of the project ``demo`` is here."""
    return FileCached(INDEX, "demo", filename, sha256, size, path)


def kept_blobs(reader: Reader, limit: int = 1000) -> list[KeptBlob]:
    """Every blob that the view names, read ``limit`` rows at a time."""
    found: list[KeptBlob] = []
    mark: Mark | None = BEGINNING
    while mark is not None:
        some, mark = reader.named_blobs(mark, limit)
        found += [named.blob for named in some]
    return found
