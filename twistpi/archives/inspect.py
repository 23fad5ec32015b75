"""Inspection of a distribution file before it is accepted: its core metadata, and whether its name is right.

Sources: "Binary distribution format" (PEP 427), "Source distribution format" (PEP 625), "The Internal Structure of Python Eggs"
(setuptools).
"""

from __future__ import annotations

from typing import BinaryIO, Final

import attrs

from twistpi.archives.core_metadata import CoreMetadata, check_is_of, parse_core_metadata
from twistpi.archives.source import DEFAULT_LIMITS, Limits, Source, TopFolder, member_path
from twistpi.archives.tar import TarArchive
from twistpi.archives.zip_directory import Member
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


@attrs.frozen
class Inspected:
    """What was found in a distribution file."""

    kind: str
    """``wheel``, ``sdist``, ``egg``, or ``other`` for files that are not opened."""
    metadata: bytes | None
    """``METADATA`` or ``PKG-INFO`` as it is in the file; None for ``other`` and for an old sdist without."""
    core: CoreMetadata | None
    """``metadata``, parsed."""


def inspect(file: BinaryIO, filename: str, size: int, limits: Limits = DEFAULT_LIMITS) -> Inspected:
    """Inspect ``file``, of ``size`` bytes, which is to be called ``filename``.

    Blocking.  A wheel takes milliseconds, since only directory, headers and metadata are read; an sdist takes as long as
    unpacking it.  Memory stays at a few MiB.  Raise ``InvalidDistribution`` for a damaged or dangerous archive, and when the
    metadata is of another project or version than the name of a wheel or an sdist says.
    """
    kind = kind_of_filename(filename)
    source = Source(file, filename, size)
    metadata = None
    if kind == WHEEL:
        metadata = _wheel_metadata(source, limits)
    elif kind == SDIST:
        metadata = _zip_sdist_metadata(source, limits) if filename.lower().endswith(".zip") else _tar_metadata(source, limits)
    elif kind == EGG:
        metadata = _egg_metadata(source, limits)
    if metadata is None:
        return Inspected(kind, None, None)
    core = parse_core_metadata(metadata, filename, limits)
    if kind != EGG:
        check_is_of(filename, core.name, core.version)
    return Inspected(kind, metadata, core)


def _wheel_metadata(source: Source, limits: Limits) -> bytes:
    """Return ``METADATA`` of the one ``.dist-info`` folder that has the wheel's name and version, in any spelling.

    Raise ``InvalidDistribution`` also when ``WHEEL`` or ``RECORD`` is not beside it.  Such folders of other distributions, which
    a wheel may contain, are passed over.
    """
    found: dict[str, list[tuple[str, Member]]] = {"METADATA": [], "WHEEL": [], "RECORD": []}
    for member in read_members(source, limits):
        path = member_path(source, member.name, limits)
        if len(path) == 2 and path[1] in found and _is_info_of(source.filename, path[0]):
            found[path[1]].append((path[0], member))
    for name, places in found.items():
        if len(places) != 1:
            raise source.refusal(f"it contains {'more than one' if places else 'no'} {name} for its name and version")
    if len({folder for [(folder, _member)] in found.values()}) > 1:
        raise source.refusal("it has more than one .dist-info folder of its name")
    return read_member(source, found["METADATA"][0][1], limits.largest_metadata)


def _is_info_of(filename: str, folder: str) -> bool:
    name, dash, version = folder.removesuffix(".dist-info").rpartition("-")
    if not folder.endswith(".dist-info") or not dash:
        return False
    try:
        project = normalize_project(filename.partition("-")[0])
        is_same_name = normalize_project(name) == project
    except InvalidName:
        return False
    told = version_of_filename(filename, project)
    return is_same_name and told is not None and (told == version or is_same_version(told, version.replace("_", "-")))


def _egg_metadata(source: Source, limits: Limits) -> bytes:
    wanted = ("EGG-INFO", "PKG-INFO")
    found = [member for member in read_members(source, limits) if member_path(source, member.name, limits) == wanted]
    if len(found) != 1:
        raise source.refusal("it contains PKG-INFO more than once" if found else "it contains no EGG-INFO/PKG-INFO")
    return read_member(source, found[0], limits.largest_metadata)


def _zip_sdist_metadata(source: Source, limits: Limits) -> bytes | None:
    """Return ``PKG-INFO`` in the one folder of an sdist, None for an old one without; raise ``InvalidDistribution``."""
    top = TopFolder(source)
    found = []
    for member in read_members(source, limits):
        path = member_path(source, member.name, limits)
        top.take(path, is_folder=member.is_folder)
        if path[1:] == _SDIST_METADATA and not member.is_folder:
            found.append(member)
    top.finish()
    if len(found) > 1:
        raise source.refusal("it contains PKG-INFO more than once")
    return read_member(source, found[0], limits.largest_metadata) if found else None


def _tar_metadata(source: Source, limits: Limits) -> bytes | None:
    """Do the same for a tar archive."""
    top = TopFolder(source)
    archive = TarArchive(source, limits)
    found: bytes | None = None
    for member in archive.members():
        top.take(member.path, is_folder=member.is_folder)
        if member.path[1:] != _SDIST_METADATA:
            continue
        if not member.is_file or member.size > limits.largest_metadata:
            raise source.refusal("its PKG-INFO is too large" if member.is_file else "its PKG-INFO is not a file")
        if found is not None:
            raise source.refusal("it contains PKG-INFO more than once")
        found = archive.read(member.size)
    top.finish()
    return found
