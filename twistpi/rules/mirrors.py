"""What a mirror has to say when it learned something: the difference to what it knew, or nothing.

Every function here is handed what the view knows at the moment of the commit and gives the changes to append; no changes mean
that it was all known (law 5).
"""

from __future__ import annotations

from collections.abc import Mapping

from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import KnownFile, KnownProject, PageHeader, ProjectPage


def decide_links(index: str, known: KnownProject | None, page: ProjectPage) -> tuple[Change, ...]:
    """The difference between what ``index`` knows of a project and the page its upstream shows now.

    A project that is new, or that had vanished and is back, is always worth a change, even when its page is empty.
    """
    files = {} if known is None else {file.link.filename: file for file in known.files}
    names = {link.filename for link in page.links}
    change = LinksChanged(
        index,
        page.project,
        added=tuple(link for link in page.links if link.filename not in files),
        changed=tuple(link for link in page.links if (file := files.get(link.filename)) and (file.vanished or file.link != link)),
        removed=tuple(name for name, file in files.items() if name not in names and not file.vanished),
        versions_added=_missing(page.versions, () if known is None else known.versions),
        versions_removed=_missing(() if known is None else known.versions, page.versions),
        header=page.header if page.header != (PageHeader() if known is None else known.header) else None,
    )
    is_news = known is None or known.vanished or change != LinksChanged(index, page.project)
    return (change,) if is_news else ()


def decide_vanished(known: KnownProject | None) -> tuple[Change, ...]:
    """What to say when an upstream answers that a project does not exist: something only if it once did."""
    return () if known is None or known.vanished else (ProjectVanished(known.index, known.project),)


def decide_file_cached(index: str, project: str, file: KnownFile | None, sha256: str, size: int) -> tuple[Change, ...]:
    """What to say when the bytes of a file are here.

    ``file`` is what the view knows under the file's path.  Nothing is said of one that is not there, or whose link names other
    bytes by now.
    """
    if file is None or (file.sha256, file.size) == (sha256, size) or file.link.sha256 not in (None, sha256):
        return ()
    return (FileCached(index, project, file.link.filename, sha256, size, _told_path(file)),)


def decide_metadata_cached(index: str, project: str, file: KnownFile | None, sha256: str, size: int) -> tuple[Change, ...]:
    """What to say when the core metadata of a file is here; ``file`` is what the view knows under the file's path.

    The path is told, too, where the link promises other metadata: pages that repeat the promise are wrong from now on.
    """
    if file is None or (file.metadata_sha256, file.metadata_size) == (sha256, size):
        return ()
    claim = file.link.core_metadata
    is_foretold = not isinstance(claim, Mapping) or claim.get("sha256") in (None, sha256)
    return (MetadataCached(index, project, file.link.filename, sha256, size, _told_path(file) if is_foretold else file.path),)


def decide_metadata_missing(index: str, project: str, file: KnownFile | None, reason: str) -> tuple[Change, ...]:
    """What to say when no core metadata of a file can be had; ``file`` is what the view knows under the file's path."""
    if file is None or file.metadata_missing:
        return ()
    return (MetadataMissing(index, project, file.link.filename, reason, _told_path(file)),)


def _told_path(file: KnownFile) -> str | None:
    """The file's path where its name and digest do not tell it: without a digest, or when another may have its name now."""
    return file.path if file.link.sha256 is None or file.vanished else None


def _missing(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``some`` that are not among ``others``, in their order."""
    known = frozenset(others)
    return tuple(one for one in some if one not in known)
