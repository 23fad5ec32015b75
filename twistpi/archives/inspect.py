"""Inspection of a distribution file before it is accepted: its core metadata, and whether its name is right.

Sources: "Binary distribution format" (PEP 427), "Source distribution format" (PEP 625), "The Internal Structure of Python Eggs"
(setuptools).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from operator import itemgetter
from typing import BinaryIO, Final, Protocol

import attrs

from twistpi.archives.core_metadata import CoreMetadata, check_is_of, parse_core_metadata
from twistpi.archives.source import DEFAULT_LIMITS, Limits, Source, TopFolder, member_path
from twistpi.archives.tar import TarArchive
from twistpi.archives.zip_directory import TAIL_LENGTH, Member, find_directory
from twistpi.archives.zip_members import read_member, read_members
from twistpi.model.errors import InvalidName
from twistpi.model.names import (
    EGG,
    SDIST,
    WHEEL,
    is_same_version,
    kind_of_filename,
    normalize_project,
    version_of_filename,
)

_SDIST_METADATA: Final = ("PKG-INFO",)
_ZIPPED: Final = (".whl", ".zip", ".egg")
_HTML: Final = (b"<!doctype", b"<html", b"<head", b"<?xml")
"""How a page begins, in lower case."""
_UNPACKED_AT_MOST: Final = 4 * 1024**3
"""Bytes after which the end of a compressed file is not looked for any more."""
_OF_ANY_SIZE: Final = attrs.evolve(DEFAULT_LIMITS, most_members=2**63, largest_directory=2**63)
_AT_ONCE: Final = 1024 * 1024
"""Bytes that are unpacked at a time."""


@attrs.frozen
class Inspected:
    """What was found in a distribution file."""

    kind: str
    """``wheel``, ``sdist``, ``egg``, or ``other`` for files that are not opened."""
    metadata: bytes | None
    """``METADATA`` or ``PKG-INFO`` as it is in the file; None for ``other`` and for an old sdist without."""
    core: CoreMetadata | None
    """``metadata``, parsed."""


def inspect(file: BinaryIO, filename: str, size: int, limits: Limits = DEFAULT_LIMITS, *, is_strict: bool = True) -> Inspected:
    """Inspect ``file``, of ``size`` bytes, which is to be called ``filename``.

    Blocking; takes as long as unpacking it, but for ZIP archives that are not inspected strictly (``Source.is_strict``).  Memory
    stays at a few MiB.  Raise ``InvalidDistribution`` for a damaged or dangerous archive, and when the metadata is of another
    project or version than the name of a wheel or an sdist says.
    """
    kind = kind_of_filename(filename)
    source = Source(file, filename, size, is_strict)
    metadata = None
    if kind == WHEEL:
        metadata = _wheel_metadata(source, limits)
    elif kind == SDIST:
        metadata = _zip_sdist_metadata(source, limits) if filename.lower().endswith(".zip") else _tar_metadata(source, limits)
    elif kind == EGG:
        metadata = _egg_metadata(source, limits)
    if metadata is None:
        return Inspected(kind, None, None)
    core = parse_core_metadata(metadata, filename, limits, is_strict=is_strict)
    if kind != EGG:
        check_is_of(filename, core.name, core.version)
    return Inspected(kind, metadata, core)


def inspect_docs(file: BinaryIO, filename: str, size: int, limits: Limits = DEFAULT_LIMITS, *, is_strict: bool = True) -> None:
    """Raise ``InvalidDistribution`` unless ``file`` is a ZIP archive as ``inspect`` accepts it, with any content.  Blocking."""
    source = Source(file, filename, size, is_strict)
    for member in read_members(source, limits):
        member_path(source, member.name, limits)


def _wheel_metadata(source: Source, limits: Limits) -> bytes:
    """Return ``METADATA`` of the one ``.dist-info`` folder that has the wheel's name and version, in any spelling.

    A strict inspection demands ``WHEEL`` and ``RECORD`` beside it, and each once.  Such folders of other distributions, which
    a wheel may contain, are passed over.
    """
    found: dict[str, list[tuple[str, Member]]] = {"METADATA": [], "WHEEL": [], "RECORD": []}
    for member in read_members(source, limits):
        path = member_path(source, member.name, limits)
        if len(path) == 2 and path[1] in found and _is_info_of(source.filename, path[0]):
            found[path[1]].append((path[0], member))
    for name, places in found.items():
        if len(places) != 1:
            source.complain(f"it contains {'more than one' if places else 'no'} {name} for its name and version")
    if len({folder for places in found.values() for folder, _member in places}) > 1:
        source.complain("it has more than one .dist-info folder of its name")
    if not found["METADATA"]:
        raise source.refusal("it contains no METADATA for its name and version")
    return read_member(source, found["METADATA"][-1][1], limits.largest_metadata)


def _is_info_of(filename: str, folder: str) -> bool:
    name, dash, version = folder.removesuffix(".dist-info").rpartition("-")
    if not folder.endswith(".dist-info") or not dash:
        return False
    try:
        project = normalize_project(filename.partition("-")[0])
        is_same_name = normalize_project(name) == project
    except InvalidName:
        return False
    named = version_of_filename(filename, project)
    return is_same_name and named is not None and (named == version or is_same_version(named, version.replace("_", "-")))


def _egg_metadata(source: Source, limits: Limits) -> bytes:
    wanted = ("EGG-INFO", "PKG-INFO")
    found = [member for member in read_members(source, limits) if member_path(source, member.name, limits) == wanted]
    if not found:
        raise source.refusal("it contains no EGG-INFO/PKG-INFO")
    if len(found) > 1:
        source.complain("it contains PKG-INFO more than once")
    return read_member(source, found[-1], limits.largest_metadata)


def _zip_sdist_metadata(source: Source, limits: Limits) -> bytes | None:
    """Return ``PKG-INFO`` in the one folder of an sdist, None for an old one without; raise ``InvalidDistribution``.

    A lenient inspection takes the one that is nearest to the top.
    """
    top = TopFolder(source)
    found: list[tuple[tuple[bool, bool], Member]] = []
    for member in read_members(source, limits):
        path = member_path(source, member.name, limits)
        top.take(path, is_folder=member.is_folder)
        if _is_metadata_of_sdist(source, path) and not member.is_folder:
            found.append((_depth(path), member))
    top.finish()
    if len(found) > 1:
        source.complain("it contains PKG-INFO more than once")
    return read_member(source, min(found, key=itemgetter(0))[1], limits.largest_metadata) if found else None


def _tar_metadata(source: Source, limits: Limits) -> bytes | None:
    """Do the same for a tar archive."""
    top = TopFolder(source)
    archive = TarArchive(source, limits)
    found: tuple[tuple[bool, bool], bytes] | None = None
    for member in archive.members():
        top.take(member.path, is_folder=member.is_folder)
        if not _is_metadata_of_sdist(source, member.path):
            continue
        if not member.is_file or member.size > limits.largest_metadata:
            source.complain("its PKG-INFO is too large" if member.is_file else "its PKG-INFO is not a file")
            continue
        if found is not None:
            source.complain("it contains PKG-INFO more than once")
        if found is None or _depth(member.path) < found[0]:
            found = _depth(member.path), archive.read(member.size)
    top.finish()
    return None if found is None else found[1]


def _is_metadata_of_sdist(source: Source, path: tuple[str, ...]) -> bool:
    return path[1:] == _SDIST_METADATA or (path == _SDIST_METADATA and not source.is_strict)


def _depth(path: tuple[str, ...]) -> tuple[bool, bool]:
    """Return what sorts the places of ``PKG-INFO``: the archive's top, its folder, a folder that setuptools made."""
    return len(path) > 1, path[0].endswith(".egg-info")


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_COMPRESSED: Final[tuple[tuple[tuple[str, ...], Callable[[], _Unpacker]], ...]] = (
    ((".gz", ".tgz"), lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    ((".bz2", ".tbz"), bz2.BZ2Decompressor),
    ((".xz", ".txz"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)),
)


def check_is_archive(file: BinaryIO, filename: str, size: int) -> None:
    """Raise ``InvalidDistribution`` unless ``file`` is an archive of the kind that its name says, from its beginning to its end.

    This is for files of other servers whose digest nobody knows: error pages, and files that broke off.  Blocking.
    """
    source, name = Source(file, filename, size), filename.lower()
    if not size:
        raise source.refusal("it is empty")
    if source.at(0, min(size, 1024)).lstrip().lower().startswith(_HTML):
        raise source.refusal("it is a page, and no archive")
    if name.endswith(_ZIPPED):
        start = max(0, size - TAIL_LENGTH)
        find_directory(filename, size, source.at(start, size - start), _OF_ANY_SIZE, strict=False)
    for endings, unpacker in _COMPRESSED:
        if name.endswith(endings):
            _check_end(source, unpacker())


def _check_end(source: Source, unpacker: _Unpacker) -> None:
    """Raise ``InvalidDistribution`` unless a compressed file has an end."""
    unpacked = 0
    for piece in source.pieces(0, source.size):
        length = _AT_ONCE
        while length == _AT_ONCE:  # there may be more in what was read
            try:
                length = len(unpacker.decompress(piece, _AT_ONCE))
            except (zlib.error, OSError, lzma.LZMAError) as error:
                raise source.refusal(f"it cannot be unpacked ({error})") from error
            unpacked += length
            if unpacker.eof or unpacked > _UNPACKED_AT_MOST:
                return
            piece = getattr(unpacker, "unconsumed_tail", b"")  # zlib's does not keep it
    raise source.refusal("it breaks off")
