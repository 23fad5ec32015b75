"""What a mirror has to say when it learned something: the difference to what it knew, or nothing.

Every function here is handed what the view knows at the moment of the commit and gives the changes to append; no changes mean
that it was all known (law 5).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import KnownFile, KnownProject, Link, PageHeader, ProjectPage


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


_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_.-]")
_LONGEST_DIRECTORY: Final = 200
"""Characters; longer ones are cut and told apart by a digest, since a component of a path may have 255 bytes."""


def file_path(link: Link) -> str:
    """The path of ``link``'s file below its index; it stays the same while the link keeps its digest or its address.

    ``+f/{3}/{13}/{filename}`` with the first 16 digits of the SHA-256 where the upstream gives one, so that equal bytes have
    equal paths in every index; otherwise ``+e/{directory}/{filename}``.  The path is not percent-encoded.
    """
    digest = link.sha256
    if digest is not None:
        return f"+f/{digest[:3]}/{digest[3:16]}/{link.filename}"
    return f"+e/{external_directory(link.url)}/{link.filename}"


def external_directory(url: str) -> str:
    """The one path component that stands for where ``url``'s file lies: ``https_files.example_8080_a_b``.

    Scheme, host, port and folder with every character outside ``[a-zA-Z0-9_.-]`` as ``_``.  User, password and query, which may
    be secret or change with every visit, are left out.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    directory = _UNSAFE.sub("_", f"{parts.scheme}_{host}{parts.path.rpartition('/')[0]}")
    if len(directory) <= _LONGEST_DIRECTORY:
        return directory
    return f"{directory[:_LONGEST_DIRECTORY]}-{hashlib.sha256(directory.encode()).hexdigest()[:16]}"
