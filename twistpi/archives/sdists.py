"""``PKG-INFO`` out of an sdist.  Source: "Source distribution format" (PEP 625)."""

from __future__ import annotations

from twistpi.archives.limits import Limits
from twistpi.archives.paths import TopFolder, member_path
from twistpi.archives.source import Source
from twistpi.archives.tar_members import TarArchive
from twistpi.archives.zip_layout import read_member, read_members

_METADATA = "PKG-INFO"


def sdist_metadata(source: Source, limits: Limits) -> bytes | None:
    """``PKG-INFO`` in the one folder that an sdist is, None for an old one without; raises ``InvalidDistribution``."""
    if source.filename.lower().endswith(".zip"):
        return _out_of_zip(source, limits)
    return _out_of_tar(source, limits)


def _out_of_zip(source: Source, limits: Limits) -> bytes | None:
    top = TopFolder(source)
    found = []
    for member in read_members(source, limits):
        path = member_path(source, member.name, limits)
        top.take(path, is_folder=member.is_folder)
        if path[1:] == (_METADATA,) and not member.is_folder:
            found.append(member)
    top.finish()
    if len(found) > 1:
        raise source.refusal("it holds PKG-INFO more than once")
    return read_member(source, found[0], limits.largest_metadata) if found else None


def _out_of_tar(source: Source, limits: Limits) -> bytes | None:
    top = TopFolder(source)
    archive = TarArchive(source, limits)
    found: bytes | None = None
    for member in archive.members():
        top.take(member.path, is_folder=member.is_folder)
        if member.path[1:] != (_METADATA,):
            continue
        if not member.is_file or member.size > limits.largest_metadata:
            raise source.refusal("its PKG-INFO is too large" if member.is_file else "its PKG-INFO is no file")
        if found is not None:
            raise source.refusal("it holds PKG-INFO more than once")
        found = archive.read(member)
    top.finish()
    return found
