"""Project pages: what an index and its bases know of a project merged into one page, its rendering, and entity tags.

Files come in one order in all representations: that of the merged page, which is the upstream's for a mirror.  Source: "Simple
repository API" 1.4; HTML stays at 1.4 for ever (PEP 833).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import Final

import attrs
import orjson

from twistpi.model.names import IndexName, comparable_version, version_of_filename
from twistpi.model.records import Json, KnownFile, KnownProject, PageHeader
from twistpi.simple.negotiate import Representation
from twistpi.simple.urls import escape, quote_path

_NO_HEADER: Final = PageHeader()


@attrs.frozen
class MergedPage:
    """A project on an index: its own files and those it inherits."""

    index: str
    """The requested index, ``user/name``."""
    project: str
    """The normalised name."""
    files: tuple[tuple[str, KnownFile], ...]
    """Each with the index that owns it; one per file name, nearest index first, within an index in its own order."""
    versions: tuple[str, ...] = ()
    """Without repetition; they include the version of every file that has one in its name (PEP 700)."""
    header: PageHeader = _NO_HEADER
    """``last_serial`` and ``extra`` only when the page is of a single index, since they are about one repository."""
    vanished: bool = False
    """True when no index behind the page has the project any more: only what is cached remains."""
    note: str = ""
    """What an HTML page tells people about its files."""


def merge(index: str, project: str, known: Sequence[KnownProject]) -> MergedPage:
    """Return the page of ``project`` on ``index``; ``known`` is what the index and its bases know of it, nearest first.

    The first file of a name wins.  A quarantined project offers no files (PEP 792), a vanished one those that are cached.
    """
    files: dict[str, tuple[str, KnownFile]] = {}
    for one in known:
        for file in one.offered:
            files.setdefault(file.link.filename, (one.index, file))
    named = _named_versions(known)
    return MergedPage(
        index,
        project,
        tuple(files.values()),
        (*named, *_unnamed_versions(named, project, files)),
        _header(index, known),
        bool(known) and all(one.vanished for one in known),
    )


def _header(index: str, known: Sequence[KnownProject]) -> PageHeader:
    if len(known) == 1:
        header = known[0].header
        return header if known[0].index == index else attrs.evolve(header, last_serial=None)
    # As long as one index offers files, the page is not quarantined.
    speaking = [one.header for one in known if one.header.status is not None]
    offering = [header for header in speaking if header.status != "quarantined"]
    if not offering and all(one.quarantined for one in known):
        offering = speaking
    return PageHeader(offering[0].status, offering[0].status_reason) if offering else _NO_HEADER


def _named_versions(known: Sequence[KnownProject]) -> tuple[str, ...]:
    """Return the versions that indexes name, each as the nearest one writes it."""
    listing = [one.versions for one in known if one.versions]
    if len(listing) < 2:
        return listing[0] if listing else ()
    spellings: dict[str, str] = {}
    for version in chain.from_iterable(listing):
        spellings.setdefault(comparable_version(version), version)
    return tuple(spellings.values())


def _unnamed_versions(named: Sequence[str], project: str, filenames: Iterable[str]) -> Iterable[str]:
    """Return the versions of files that are not in ``named`` in any spelling."""
    spelled = frozenset(named)
    # Of thousands of files nearly all have a version that is spelled as in ``named``; those are cheap to tell.
    odd = [filename for filename in filenames if not _is_named(filename, project, spelled)]
    of_files = {version_of_filename(filename, project) for filename in odd}
    left = [version for version in of_files - spelled if version is not None]
    if not left:
        return ()
    known = {comparable_version(version) for version in named}
    fresh = {comparable_version(version): version for version in sorted(left, reverse=True)}
    return sorted(version for comparable, version in fresh.items() if comparable not in known)


def _is_named(filename: str, project: str, spelled: Set[str]) -> bool:
    """Return whether a file name of the usual form has a version of ``spelled``."""
    head, _, rest = filename.partition("-")
    if filename.endswith(".whl"):
        return rest.partition("-")[0] in spelled
    return rest.removesuffix(".tar.gz") in spelled and head.replace("_", "-").lower() == project


JSON_VERSION: Final = "1.4"
"""The API version of JSON with everything that version requires."""
_SPARSE_JSON_VERSION: Final = "1.0"
"""The API version of JSON with files of unknown size: 1.1 requires sizes and versions."""
HTML_VERSION: Final = "1.4"
"""The API version of HTML."""
_HTML_DIGESTS: Final = ("sha256", "sha512", "sha384", "sha224", "sha1", "md5")
"""Best first: an HTML link has room for one."""


def render_project(
    page: MergedPage, representation: Representation, *, base: str, offline: bool = False, closed: Set[str] = frozenset()
) -> bytes:
    """Render the page of a project in one representation.

    ``base`` is the way from the page to the requested index: ``../../`` from ``/user/index/+simple/project/``, or an
    absolute URL that ends in ``/user/index/``.  With ``offline`` only cached files are listed.  Links to files of indexes that
    need a login (``closed``) lead below the requested one: uv sends its login there at once, and elsewhere only when asked.
    """
    files = [(index, file) for index, file in page.files if file.cached] if offline else page.files
    owners = {index for index, _file in files}
    prefixes = {index: base if index in closed else link_prefix(base, page.index, index) for index in owners}
    if representation.is_json:
        entries = [_json_file(prefixes[index], file, offline=offline) for index, file in files]
        # A copy, since orjson's own bytes occupy up to twice their length, and pages are cached by the thousand.
        return bytes(memoryview(orjson.dumps(_json_page(page, entries))))
    starts = {index: f'{escape(index)} <a href="{escape(prefix)}' for index, prefix in prefixes.items()}
    lines = [_html_file(starts[index], file, offline=offline) for index, file in files]
    return _html_page(page, lines).encode()


def etag(body: bytes, content_type: str = "") -> str:
    """Return a strong entity tag, quoted, for ``body`` as ``content_type`` (RFC 9110, 8.8.3)."""
    digest = hashlib.sha256(content_type.encode())
    digest.update(body)
    return f'"{digest.hexdigest()[:32]}"'


def link_prefix(base: str, asked: str, owner: str) -> str:
    """Return the beginning of a link to a file of the index ``owner``, where ``base`` leads to the index ``asked``."""
    if asked == owner:
        return base
    here, there = IndexName.parse(asked), IndexName.parse(owner)
    if "://" in base:
        return f"{base.removesuffix(quote_path(asked) + '/')}{quote_path(owner)}/"
    return f"{base}../{quote_path(there.name)}/" if here.user == there.user else f"{base}../../{quote_path(owner)}/"


def offered_metadata(file: KnownFile, *, offline: bool = False) -> bool | Mapping[str, str] | None:
    """Return what a page says of the core metadata of a file: its digests, True without digests, None for none.

    What a page announces must be served (PEP 714).  That is the metadata that is cached; else what the upstream announces; else,
    for any wheel, what can be read out of it, unless that failed before.
    """
    claim = file.link.core_metadata
    if file.metadata_sha256 is not None:
        is_same = isinstance(claim, Mapping) and claim.get("sha256") == file.metadata_sha256
        return claim if is_same else {"sha256": file.metadata_sha256}
    if file.metadata_missing or not file.link.url:
        return None  # An upload without metadata has no upstream.
    if offline or file.vanished:
        # The upstream cannot be asked.  Only a cached wheel has metadata then, and its digest is not known.
        return True if file.cached and file.link.is_wheel else None
    if file.link.is_wheel:
        return claim or True
    # Of what is no wheel, nothing else could be served should the upstream not have what it says.
    return claim if isinstance(claim, Mapping) else None


def _digests(file: KnownFile) -> Mapping[str, str]:
    """Return the upstream's digests, with the SHA-256 of the cached file where the upstream has none."""
    hashes = file.link.hashes
    return hashes if file.sha256 is None or "sha256" in hashes else {**hashes, "sha256": file.sha256}


def _readable(hashes: Mapping[str, str]) -> Mapping[str, str]:
    """Return ``hashes`` without a BLAKE2b digest of 64 bytes, for which uv 0.13 refuses the whole page; it expects 32."""
    if len(hashes.get("blake2b", "")) <= 64:
        return hashes
    return {algorithm: digest for algorithm, digest in hashes.items() if algorithm != "blake2b"}


# JSON --------------------------------------------------------------------------------------------------------------


def _json_page(page: MergedPage, entries: list[dict[str, Json]]) -> dict[str, Json]:
    header = page.header
    is_complete = all("size" in entry for entry in entries)
    meta: dict[str, Json] = {"api-version": JSON_VERSION if is_complete else _SPARSE_JSON_VERSION}
    if header.last_serial is not None:
        meta["_last-serial"] = header.last_serial
    document: dict[str, Json] = {**header.extra, "meta": meta, "name": page.project, "files": entries}
    if is_complete:
        document["versions"] = page.versions
    if header.status is not None:
        document["project-status"] = {"status": header.status}
        if header.status_reason is not None:
            document["project-status"]["reason"] = header.status_reason
    if page.vanished:
        document["_vanished"] = True
    return document


def _json_file(prefix: str, file: KnownFile, *, offline: bool) -> dict[str, Json]:
    link = file.link
    entry: dict[str, Json] = {
        "filename": link.filename,
        "url": prefix + quote_path(file.path),
        "hashes": _readable(_digests(file)),
    }
    if (size := file.size if link.size is None else link.size) is not None:
        entry["size"] = size
    if link.upload_time is not None:
        entry["upload-time"] = link.upload_time
    if link.requires_python is not None:
        entry["requires-python"] = link.requires_python
    if (metadata := offered_metadata(file, offline=offline)) is not None:
        entry["core-metadata"] = (_readable(metadata) or True) if isinstance(metadata, Mapping) else metadata
    if link.yanked is not False:
        entry["yanked"] = link.yanked or True
    if link.provenance is not None:
        entry["provenance"] = link.provenance
    if link.extra:
        entry = {**link.extra, **entry}
    if file.vanished:
        entry["_vanished"] = True
    return entry


# HTML --------------------------------------------------------------------------------------------------------------


def _html_page(page: MergedPage, lines: list[str]) -> str:
    title = escape(f"{page.index}: links for {page.project}")
    header = page.header
    metas = [("pypi:repository-version", HTML_VERSION)]
    if header.status is not None:
        metas.append(("pypi:project-status", header.status))
        if header.status_reason is not None:
            metas.append(("pypi:project-status-reason", header.status_reason))
    head = "".join(f'<meta name="{name}" content="{escape(content)}">' for name, content in metas)
    note = "The upstream does not have this project any more; these files are kept here." if page.vanished else page.note
    paragraph = f"<p>{escape(note)}</p>\n" if note else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{head}<title>{title}</title></head><body><h1>{title}</h1>\n'
        f"{paragraph}{''.join(lines)}</body></html>\n"
    )


def _html_file(start: str, file: KnownFile, *, offline: bool) -> str:
    link = file.link
    attributes = ""
    if metadata := offered_metadata(file, offline=offline):
        value = (_best_digest(metadata) if isinstance(metadata, Mapping) else "") or "true"
        attributes += f' data-dist-info-metadata="{value}" data-core-metadata="{value}"'
    if link.requires_python is not None:
        attributes += _requires_python_attribute(link.requires_python)
    if link.yanked is not False:
        attributes += f' data-yanked="{escape(link.yanked) if isinstance(link.yanked, str) else ""}"'
    if link.provenance is not None:
        attributes += f' data-provenance="{escape(link.provenance)}"'
    if file.vanished:
        attributes += ' data-vanished="true"'
    digest = _best_digest(_digests(file))
    fragment = digest and f"#{digest}"
    return f'{start}{quote_path(file.path)}{fragment}"{attributes}>{escape(link.filename)}</a><br>\n'


@functools.lru_cache(maxsize=256)
def _requires_python_attribute(specifier: str) -> str:
    """Thousands of files have few different specifiers, and nearly every one needs escaping."""
    return f' data-requires-python="{escape(specifier)}"'


def _best_digest(hashes: Mapping[str, str]) -> str:
    for algorithm in _HTML_DIGESTS:
        if algorithm in hashes:
            return f"{algorithm}={hashes[algorithm]}"
    return ""
