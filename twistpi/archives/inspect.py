"""A look into a distribution file before it is taken."""

from __future__ import annotations

from typing import BinaryIO

import attrs

from twistpi.archives.core_metadata import CoreMetadata, parse_core_metadata
from twistpi.archives.limits import DEFAULT_LIMITS, Limits
from twistpi.archives.sdists import sdist_metadata
from twistpi.archives.source import Source, shown
from twistpi.archives.wheels import egg_metadata, wheel_metadata
from twistpi.model.distributions import EGG, SDIST, WHEEL, is_of_project, is_of_version, kind_of_filename
from twistpi.model.names import normalize_project


@attrs.frozen
class Inspected:
    """What was found in a distribution file."""

    kind: str
    """``wheel``, ``sdist``, ``egg``, or ``other`` for what is not looked into."""
    metadata: bytes | None
    """``METADATA`` or ``PKG-INFO`` as it lies in the file; None for ``other`` and for an old sdist without."""
    core: CoreMetadata | None
    """What ``metadata`` says."""


def inspect(file: BinaryIO, filename: str, size: int, limits: Limits = DEFAULT_LIMITS) -> Inspected:
    """Look into ``file``, of ``size`` bytes, which is or is going to be called ``filename``.

    Reads and unpacks, so it belongs into a thread: milliseconds for a wheel, of which only the table of contents, headers and
    metadata are read; as long as unpacking takes for an sdist.  Needs a few MiB of memory whatever the file's size.  Raises
    ``InvalidDistribution``, which names the file and what is wrong, also when the metadata is of another project or version than
    the name of a wheel or an sdist says.
    """
    kind = kind_of_filename(filename)
    source = Source(file, filename, size)
    metadata = None
    if kind == WHEEL:
        metadata = wheel_metadata(source, limits)
    elif kind == SDIST:
        metadata = sdist_metadata(source, limits)
    elif kind == EGG:
        metadata = egg_metadata(source, limits)
    if metadata is None:
        return Inspected(kind, None, None)
    core = parse_core_metadata(metadata, filename, limits)
    if kind != EGG:
        _check_name(source, core)
    return Inspected(kind, metadata, core)


def _check_name(source: Source, core: CoreMetadata) -> None:
    """Refuse metadata that is of another project or version than the file's name says."""
    project = normalize_project(core.name)
    if not is_of_project(source.filename, project) or not is_of_version(source.filename, project, core.version):
        raise source.refusal(f"its metadata is of {shown(core.name)} {shown(core.version)}")
