"""What is searched of a project: read from the view and from stored core metadata and documentation.  Everything here blocks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import Final

import attrs
from packaging.version import Version
from selectolax.lexbor import LexborHTMLParser

from twistpi.archives.core_metadata import parse_core_metadata
from twistpi.archives.source import DEFAULT_LIMITS, Source
from twistpi.archives.wheel_ranges import find_metadata, read_from
from twistpi.archives.zip_directory import Member
from twistpi.archives.zip_members import checked_members, directory_of, fault_of, read_member
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.errors import InvalidDistribution
from twistpi.model.names import version_of_filename
from twistpi.model.records import NOTHING, Json, KnownFile
from twistpi.model.releases import Attachment
from twistpi.rules.attachments import age_of, latest_version, preferred_version
from twistpi.view.read import Reader

_LONGEST: Final[Mapping[str, int]] = {
    "summary": 1_000,
    "keywords": 1_000,
    "description": 20_000,
    "author": 500,
    "author_email": 500,
    "classifiers": 5_000,
}
"""Characters of each field that are searched."""
_LARGEST_METADATA: Final = 256 * 1024
"""Bytes of core metadata that are read."""
_MOST_PAGES: Final = 100
"""Pages of one documentation that are searched."""
_LARGEST_PAGE: Final = 512 * 1024
"""Bytes of a page; a larger one is left out."""
_LONGEST_PAGE: Final = 10_000
"""Characters of a page's text that are searched."""
_LONGEST_TITLE: Final = 200
"""Characters."""


@attrs.frozen
class Document:
    """A project of one index."""

    index: str
    project: str
    is_own: bool
    name: str
    """As it is spelled."""
    version: str
    """The newest."""
    fields: Mapping[str, str] = NOTHING
    docs: Attachment | None = None
    """The newest documentation."""
    docs_version: str = ""
    is_partial: bool = False
    """Whether core metadata is missing that another server has, so that it may come."""

    @property
    def digest(self) -> bytes:
        """Differs when anything differs."""
        docs = None if self.docs is None else self.docs.path
        parts = (self.name, self.version, *sorted(self.fields.items()), docs, self.docs_version, self.is_partial)
        return hashlib.sha256(repr(parts).encode()).digest()[:16]


@attrs.frozen
class DocsPage:
    """A page of uploaded documentation."""

    path: str
    """In the archive."""
    title: str
    text: str


def read_document(view: Reader, blobs: IBlobs, index: str, project: str, *, is_mirror: bool) -> Document | None:
    """Return what is searched of ``project`` in ``index``; None if nothing is, as the index has no file of it here."""
    return _mirrored(view, blobs, index, project) if is_mirror else _own(view, index, project)


def _own(view: Reader, index: str, project: str) -> Document | None:
    newest = preferred_version(view.release_versions(index, project))
    release = None if newest is None else view.release(index, project, newest)
    if release is None:
        return None
    header = view.header(index, project)
    is_quarantined = header is not None and header[0] == "quarantined"  # nothing that was uploaded is offered
    docs = {} if is_quarantined else dict(view.docs(index, project))
    docs_version = latest_version(list(docs)) or ""
    metadata = release.metadata
    name, fields = _text(metadata.get("name")) or project, _fields(metadata)
    return Document(index, project, True, name, release.version, fields, docs.get(docs_version), docs_version)


def _mirrored(view: Reader, blobs: IBlobs, index: str, project: str) -> Document | None:
    files = view.files_here(index, project)
    if not any(file.cached for file in files):
        return None
    described = max(files, key=lambda file: (file.metadata_sha256 is not None, _age(file, project)))
    metadata, is_missing = _stored_metadata(blobs, described)
    versions = view.listed_versions(index, project) or [
        version for file in files if (version := version_of_filename(file.link.filename, project))
    ]
    name, newest = _text(metadata.get("name")) or project, preferred_version(versions) or ""
    return Document(index, project, False, name, newest, _fields(metadata), is_partial=is_missing)


def _age(file: KnownFile, project: str) -> tuple[bool, Version | str]:
    return age_of(version_of_filename(file.link.filename, project) or "")


def _stored_metadata(blobs: IBlobs, file: KnownFile) -> tuple[Mapping[str, Json], bool]:
    """Return the fields of the core metadata of ``file``, stored beside it or in it, and whether that is missing on the disk."""
    digest, filename = file.metadata_blob_sha256, file.link.filename
    try:
        if file.metadata_sha256 is not None and digest is not None:
            with blobs.open(metadata_address(blob_address(digest, filename))) as stored:
                raw = stored.read(_LARGEST_METADATA)
        elif file.sha256 is not None and file.link.is_wheel:
            raw = _metadata_in(blobs, blob_address(file.sha256, filename))
        else:
            return NOTHING, False
        return parse_core_metadata(raw, filename, is_strict=False).fields, False
    except FileNotFoundError:
        return NOTHING, True
    except (InvalidDistribution, ValueError):
        return NOTHING, False


def _metadata_in(blobs: IBlobs, address: BlobAddress) -> bytes:
    with blobs.open(address) as wheel:

        def read(start: int, length: int) -> bytes:
            wheel.seek(start)
            return wheel.read(length)

        return read_from(find_metadata(address.filename, wheel.seek(0, os.SEEK_END)), read)[:_LARGEST_METADATA]


def _fields(metadata: Mapping[str, Json]) -> Mapping[str, str]:
    found = {key: _text(metadata.get(key))[:longest] for key, longest in _LONGEST.items()}
    return {key: text for key, text in found.items() if text}


def _text(value: Json) -> str:
    """Return a field as text that SQLite takes; a form may have a list where one text is meant."""
    text = "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
    return text.encode("utf-8", "replace").decode().replace("\0", " ").strip()


# Documentation -------------------------------------------------------------------------------------------------------


def read_docs_pages(blobs: IBlobs, docs: Attachment) -> Iterator[DocsPage] | None:
    """Return the pages of ``docs``, first those that are least deep; None if the archive is not on the disk."""
    try:
        file = blobs.open(path_address(docs.path))
    except (FileNotFoundError, ValueError):
        return None
    with file:
        source = Source(file, docs.filename, file.seek(0, 2), is_strict=False)
        try:
            members = [one for one in checked_members(source, directory_of(source, DEFAULT_LIMITS)) if _is_page(one)]
            members.sort(key=lambda one: (one.name.count("/"), one.name))
            return iter([page for member in members[:_MOST_PAGES] if (page := _page(source, member))])
        except InvalidDistribution:
            return iter(())


def _is_page(member: Member) -> bool:
    is_html = member.name.lower().endswith((".html", ".htm"))
    return is_html and member.unpacked <= _LARGEST_PAGE and not (member.is_folder or fault_of(member))


def _page(source: Source, member: Member) -> DocsPage | None:
    try:
        body = read_member(source, member, _LARGEST_PAGE)
    except InvalidDistribution:
        return None
    tree = LexborHTMLParser(body)
    title = tree.css_first("title")
    found = "" if title is None else " ".join(title.text().split())[:_LONGEST_TITLE]
    for unwanted in tree.css("script, style, template, nav, title"):
        unwanted.decompose()
    text = tree.body.text(separator=" ") if tree.body is not None else ""
    shown = " ".join(text[: 4 * _LONGEST_PAGE].split())[:_LONGEST_PAGE]
    return DocsPage(member.name, found, shown) if found or shown else None
