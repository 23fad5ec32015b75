"""Records <-> rows of the view's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs
import orjson

from twistpi.model.changes import Entry
from twistpi.model.records import NOTHING, Json, KnownFile, Link, PageHeader
from twistpi.model.releases import LogLine
from twistpi.rules.mirrors import file_path

Row = tuple[Any, ...]
"""Values as SQLite takes and gives them."""
Folds = dict[type, Callable[[Any, Entry], None]]
"""What takes the tables further, for each kind of change."""

LINK_COLUMNS: Final = (
    "filename, path, project, url, link_sha256, hashes, link_size, requires_python, upload_time, yanked, core_metadata,"
    " provenance, extra"
)
"""Those of ``link_row``."""

INSERT_FILE: Final = f"INSERT INTO file ({LINK_COLUMNS}) VALUES ({', '.join('?' * len(LINK_COLUMNS.split(',')))})"

FILE_COLUMNS: Final = (
    "filename, url, link_sha256, hashes, link_size, requires_python, upload_time, yanked, core_metadata, provenance, extra,"
    " path, sha256, size, metadata_sha256, metadata_size, metadata_missing, gone"
)
"""Those that ``known_files`` takes, of ``file LEFT JOIN kept ON kept.file = file.id``."""

_LARGEST: Final = 2**63
"""The end of SQLite's integers.  A larger size in a link is ignored."""


def entry_time(entry: Entry) -> str:
    """When ``entry`` was written: UTC, to the second, as ``2026-11-22T17:00:00Z``."""
    return f"{entry.at[:19]}Z"


def to_json(value: Json) -> str:
    """``value`` as JSON text with sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def link_row(project: int, link: Link) -> Row:
    """``link`` as the columns ``LINK_COLUMNS`` of a row in the project with the id ``project``."""
    hashes, size, yanked, sha256 = link.hashes, link.size, link.yanked, link.hashes.get("sha256")
    return (
        link.filename,
        file_path(link) if sha256 is None else None,
        project,
        link.url,
        sha256,
        None if len(hashes) == (sha256 is not None) else to_json(hashes),
        None if size is None or not -_LARGEST <= size < _LARGEST else size,
        link.requires_python,
        link.upload_time,
        None if yanked is False else yanked,
        None if link.core_metadata is None else to_json(link.core_metadata),
        link.provenance,
        to_json(link.extra) if link.extra else None,
    )


def known_files(
    rows: Iterable[Row], *, vanished: bool = False, loads: Callable[[str], Json] = orjson.loads
) -> Iterator[KnownFile]:
    """The files of ``rows``, whose columns are ``FILE_COLUMNS``; all of them vanished when their project is.

    One loop over positional values: a page of 4,000 files passes here.
    """
    for (
        filename, url, link_sha256, hashes, link_size, requires_python, upload_time, yanked, core_metadata, provenance, extra,
        path, sha256, size, metadata_sha256, metadata_size, metadata_missing, gone,
    ) in rows:  # fmt: skip
        link = Link(
            filename,
            url,
            loads(hashes) if hashes is not None else NOTHING if link_sha256 is None else {"sha256": link_sha256},
            link_size,
            requires_python,
            upload_time,
            False if yanked is None else yanked if isinstance(yanked, str) else True,
            None if core_metadata is None else loads(core_metadata),
            provenance,
            NOTHING if extra is None else loads(extra),
        )
        yield KnownFile(
            link,
            file_path(link) if path is None else path,
            sha256,
            size,
            metadata_sha256,
            metadata_size,
            metadata_missing == 1,
            vanished or gone == 1,
        )


def uncached_files(links: Iterable[Link]) -> Iterator[KnownFile]:
    """What ``known_files`` returns for ``links`` that were just listed and are not cached."""
    for link in links:
        if _comes_back_equal(link):
            yield KnownFile(link, file_path(link))
        else:
            filename, path, _, *columns = link_row(0, link)
            yield from known_files([(filename, *columns, path, None, None, None, None, None, 0)])


def _comes_back_equal(link: Link) -> bool:
    """Whether ``link`` is certainly read from its row as it was written, with keys in the same order."""
    claim = link.core_metadata
    return (
        len(link.hashes) < 2
        and not link.extra
        and (link.size is None or link.size < _LARGEST)
        and (claim is None or claim is True or claim is False or len(claim) < 2)
    )


def digest_paths(link: Link) -> list[str]:
    """The paths that devpi gives a file by its other digests than SHA-256."""
    return [
        f"+f/{digest[:3]}/{digest[3:16]}/{link.filename}" for algorithm, digest in link.hashes.items() if algorithm != "sha256"
    ]


def header_json(header: PageHeader) -> str | None:
    """``header`` as text; None when it says nothing."""
    return None if header == PageHeader() else to_json(attrs.asdict(header, recurse=False))


def header_of(text: str | None) -> PageHeader:
    """The inverse of ``header_json``."""
    return PageHeader() if text is None else PageHeader(**orjson.loads(text))


def log_json(log: Iterable[LogLine]) -> str:
    """``log`` as text."""
    return to_json([attrs.asdict(line, filter=lambda _field, value: value is not None) for line in log])


def log_of(text: str) -> tuple[LogLine, ...]:
    """The inverse of ``log_json``."""
    return tuple(LogLine(**{"who": None, **fields}) for fields in orjson.loads(text))
