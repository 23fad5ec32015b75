"""Where the bytes of a server directory are, according to its view and to the sizes of the files beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import attrs

from twistpi.server.directory import Layout
from twistpi.server.storage import reading
from twistpi.view.read_sizes import ProjectSize, SharedFiles


@attrs.frozen
class DiskUsage:
    """Bytes by what they are for."""

    projects: Sequence[ProjectSize]
    """By index and name."""
    shared: Sequence[SharedFiles]
    mirrors: frozenset[str]
    """The indexes whose distributions are cached."""
    other: Mapping[str, int]
    """What is beside the stored files: the changelog, the view and so on, by name."""

    @property
    def total(self) -> int:
        """All bytes; files that several indexes share count once."""
        stored = sum(one.total for one in self.projects) - sum(one.size for one in self.shared)
        return stored + sum(self.other.values())

    def indexes(self) -> Sequence[ProjectSize]:
        """Return the sums of each index, without a project's name."""
        sums: dict[str, ProjectSize] = {}
        for one in self.projects:
            total = sums.setdefault(one.index, ProjectSize(one.index, ""))
            for field in attrs.fields(ProjectSize)[2:]:
                setattr(total, field.name, getattr(total, field.name) + getattr(one, field.name))
        return list(sums.values())


def disk_usage(serverdir: str, index: str | None = None) -> DiskUsage:
    """Return where the bytes of ``serverdir`` are, of one ``index`` if given, whether or not a server runs; blocking."""
    layout = Layout(serverdir)
    with reading(serverdir) as reader:
        projects = [one for one in reader.project_sizes() if index in (None, one.index)]
        shared = reader.shared_files() if index is None else []
        mirrors = frozenset(one.name for one in reader.indexes() if one.is_mirror)
    paths = {
        "changelog": (layout.changelog,),
        "view": _with_log(layout.view),
        "search": _with_log(layout.search),
        "statistics": _with_log(layout.statistics),
        "name lists": (layout.names,),
    }
    other = {} if index is not None else {name: sum(map(_size, found)) for name, found in paths.items()}
    return DiskUsage(projects, shared, mirrors, other)


def _with_log(path: str) -> Sequence[str]:
    """The files of an SQLite database."""
    return path, f"{path}-wal", f"{path}-shm"


def _size(path: str) -> int:
    """The bytes of a file, or of all files below a folder; 0 if it is not there."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(_size(entry.path) for entry in os.scandir(path))
