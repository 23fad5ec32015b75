"""The changes of a mirror: the differences between what the view has and what an upstream answered (law 5).

Every function gets what the view has at the moment of the commit, and returns the changes to append: none when nothing differs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import KnownFile, KnownProject, Link, PageHeader, ProjectPage


def decide_links(index: str, known: KnownProject | None, page: ProjectPage) -> tuple[Change, ...]:
    """Return the difference between a project in ``index`` and its page at the upstream.

    A project that is new, or that had vanished and is back, is always a change, even when its page is empty.
    """
    if known is None:
        header = page.header if page.header != PageHeader() else None
        return (LinksChanged(index, page.project, added=page.links, versions_added=page.versions, header=header),)
    files = {file.link.filename: file for file in known.files}
    page = attrs.evolve(page, links=tuple(_with_known_time(link, files.get(link.filename)) for link in page.links))
    names = {link.filename for link in page.links}
    change = LinksChanged(
        index,
        page.project,
        added=tuple(link for link in page.links if link.filename not in files),
        changed=tuple(link for link in page.links if (file := files.get(link.filename)) and _is_news(file, link)),
        removed=tuple(name for name, file in files.items() if name not in names and not file.vanished),
        versions_added=_missing(page.versions, known.versions),
        versions_removed=_missing(known.versions, page.versions),
        header=page.header if page.header != known.header else None,
    )
    is_news = known.vanished or change != LinksChanged(index, page.project)
    return (change,) if is_news else ()


def _with_known_time(link: Link, file: KnownFile | None) -> Link:
    """Return ``link`` with the upload time that is known already, where the page tells none of the same file."""
    if link.upload_time or file is None or not file.link.upload_time or file.vanished:
        return link
    is_same = file.link.url.partition("?")[0] == link.url.partition("?")[0] and file.link.hashes == link.hashes
    return attrs.evolve(link, upload_time=file.link.upload_time) if is_same else link


def listed_project(index: str, known: KnownProject | None, page: ProjectPage) -> KnownProject:
    """Return a project as it would be known once its page at the upstream was recorded.

    What is cached of its files stays so; cached files that the page does not list stay, too, as vanished ones.
    """
    files = {} if known is None else {file.link.filename: file for file in known.files}
    listed = {link.filename: _listed(files.get(link.filename), link) for link in page.links}
    rest = (attrs.evolve(file, vanished=True) for name, file in files.items() if name not in listed and file.cached)
    return KnownProject(index, page.project, (*listed.values(), *rest), page.versions, page.header)


def _listed(file: KnownFile | None, link: Link) -> KnownFile:
    """Return ``file`` as ``link`` lists it; a new one where that has other bytes."""
    path, link = file_path(link), _with_known_time(link, file)
    return KnownFile(link, path) if file is None or file.path != path else attrs.evolve(file, link=link, vanished=False)


def _is_news(file: KnownFile, link: Link) -> bool:
    """Return whether ``link``, by which an upstream lists ``file`` now, says something new.

    Another query does not: upstreams sign their links anew for each page.  The newest one is remembered elsewhere.
    """
    former = file.link
    if file.vanished or former == link:
        return file.vanished
    (before, asked, _), (now, asks, _) = former.url.partition("?"), link.url.partition("?")
    return before != now or asked != asks or attrs.evolve(former, url=link.url) != link


def decide_vanished(known: KnownProject | None) -> tuple[Change, ...]:
    """Return the change when an upstream does not have a project: none unless it once had it."""
    return () if known is None or known.vanished else (ProjectVanished(known.index, known.project),)


def decide_file_cached(index: str, project: str, file: KnownFile | None, sha256: str, size: int) -> tuple[Change, ...]:
    """Return the change when the bytes of a file are stored.

    ``file`` is the view's, by its path.  There is no change when it is gone, or its link has another digest by now.
    """
    if file is None or (file.sha256, file.size) == (sha256, size) or file.link.sha256 not in (None, sha256):
        return ()
    return (FileCached(index, project, file.link.filename, sha256, size, _explicit_path(file)),)


def decide_metadata_cached(index: str, project: str, file: KnownFile | None, sha256: str, size: int) -> tuple[Change, ...]:
    """Return the change when the core metadata of a file is stored; ``file`` is the view's, by its path.

    It has the path also where the link announces other metadata: pages that repeat the announcement are wrong from now on.
    """
    if file is None or (file.metadata_sha256, file.metadata_size) == (sha256, size):
        return ()
    claim = file.link.core_metadata
    is_announced = not isinstance(claim, Mapping) or claim.get("sha256") in (None, sha256)
    return (
        MetadataCached(index, project, file.link.filename, sha256, size, _explicit_path(file) if is_announced else file.path),
    )


def decide_metadata_missing(index: str, project: str, file: KnownFile | None, reason: str) -> tuple[Change, ...]:
    """Return the change when a file has no readable core metadata; ``file`` is the view's, by its path."""
    if file is None or file.metadata_missing:
        return ()
    return (MetadataMissing(index, project, file.link.filename, reason, _explicit_path(file)),)


def _explicit_path(file: KnownFile) -> str | None:
    """Return the file's path where name and digest do not determine it: without a digest, or when another file has its name."""
    return file.path if file.link.sha256 is None or file.vanished else None


def _missing(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of ``some`` that are not among ``others``, in their order."""
    known = frozenset(others)
    return tuple(one for one in some if one not in known)


_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_.-]")
_LONGEST_DIRECTORY: Final = 200
"""Characters; longer ones are cut and end with a digest, since a component of a path may have 255 bytes."""


def file_path(link: Link) -> str:
    """Return the path of a file below its index; it stays the same while the link has the same digest, or else the same URL.

    ``+f/{3}/{13}/{filename}`` with the first 16 digits of the SHA-256 where the upstream gives one, so that equal bytes have
    equal paths in every index; otherwise ``+e/{directory}/{filename}``.  The path is not percent-encoded.
    """
    digest = link.sha256
    if digest is not None:
        return f"+f/{digest[:3]}/{digest[3:16]}/{link.filename}"
    return f"+e/{external_directory(link.url)}/{link.filename}"


def external_directory(url: str) -> str:
    """Return the path component that stands for the folder of ``url``: ``https_files.example_8080_a_b``.

    Scheme, host, port and folder with every character outside ``[a-zA-Z0-9_.-]`` as ``_``.  User, password and query, which may
    be secret or differ each time, are left out.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    directory = _UNSAFE.sub("_", f"{parts.scheme}_{host}{parts.path.rpartition('/')[0]}")
    if len(directory) <= _LONGEST_DIRECTORY:
        return directory
    return f"{directory[:_LONGEST_DIRECTORY]}-{hashlib.sha256(directory.encode()).hexdigest()[:16]}"
