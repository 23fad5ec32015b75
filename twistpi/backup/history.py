"""The history that a backup has: its manifests, the entries that these vouch for, and the log of some of them as a folder.

A log that was compacted begins with a summary, and so does that of each backup that was made since.  What earlier backups had of
the entries before stays in the place as long as their manifests.  So a place has one *span* of entries for each beginning: those
that lie one after the other behind it, up to the end of the newest manifest that has this beginning.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final

import attrs

from twistpi.backup.manifest import FOLDER, Beginning, Manifest, ManifestName, manifest_names, read_manifest
from twistpi.backup.store import BackupStore
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import segment_name, sort_segments, write_base
from twistpi.changelog.summary import summarised_serials, summary_name
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position

CHANGELOG: Final = "changelog"
"""The folder of the log in a backup."""
_DISK: Final = Disk()


def find_manifests(store: BackupStore) -> list[ManifestName]:
    """Return the manifests of a backup, in order."""
    return manifest_names(store.names(FOLDER))


def load_manifest(store: BackupStore, name: ManifestName) -> Manifest:
    """Return a manifest; raise ``TwistpiError`` for a damaged one."""
    return read_manifest(store.url, name, store.read(name.path))


def load_manifests(store: BackupStore, names: Sequence[ManifestName]) -> list[Manifest]:
    """Return many manifests, which are brought in one go; raise ``TwistpiError`` if one is damaged or gone."""
    folder, found = store.bring([name.path for name in names]), []
    for name in names:
        try:
            with open(os.path.join(folder, name.path), "rb") as file:
                found.append(read_manifest(store.url, name, file.read()))
        except FileNotFoundError:
            raise TwistpiError(f"The manifest {name} of the backup {store.url} is gone; run this again.") from None
    return found


@attrs.frozen
class Span:
    """Entries of a backup that lie one after the other."""

    begin: Beginning
    end: Position
    """The end of the last one that a manifest vouches for."""

    @classmethod
    def of(cls, manifest: Manifest) -> Span:
        """Return the entries that ``manifest`` vouches for."""
        return cls(manifest.begin, manifest.end)

    def log_files(self, names: Sequence[str]) -> list[str]:
        """Return those of the files ``names`` that this needs: its segments, and the summary before them."""
        base = self.begin.base
        segments = [first for first in sort_segments(names) if base.segment <= first <= self.end.segment]
        summaries = [serial for serial in summarised_serials(names) if self.begin.summary is not None and serial == base.serial]
        return [segment_name(first) for first in segments] + [summary_name(serial) for serial in summaries]


def find_spans(manifests: Sequence[Manifest]) -> list[Span]:
    """Return the spans of a place that has ``manifests``, which are in order; those that end later come later."""

    def beginning(manifest: Manifest) -> tuple[int, str]:
        return manifest.begin.base.serial, manifest.begin.summary or ""

    groups = [list(group) for _key, group in groupby(sorted(manifests, key=beginning), beginning)]
    return sorted((Span.of(group[-1]) for group in groups), key=lambda span: (span.end.serial, span.begin.base.serial))


def describe_serials(spans: Sequence[Span]) -> str:
    """Return the serials that ``spans`` have, in words: ``1 to 80 and 121 to 150``."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted((span.begin.base.serial + 1, span.end.serial) for span in spans):
        if ranges and first <= ranges[-1][1] + 1:
            first, last = ranges[-1][0], max(ranges.pop()[1], last)
        ranges.append((first, last))
    return " and ".join(f"{first} to {last}" for first, last in ranges)


@contextmanager
def brought_log(store: BackupStore, span: Span) -> Iterator[str]:
    """Bring the log of ``span``; return a folder in which it is as in a server directory, until the store brings other files.

    Nothing is verified.
    """
    names = span.log_files(store.names(CHANGELOG))
    folder = os.path.join(store.bring([f"{CHANGELOG}/{name}" for name in names]), CHANGELOG)
    with tempfile.TemporaryDirectory(prefix="twistpi-backup-log-") as log:
        for name in names:
            os.symlink(os.path.join(folder, name), os.path.join(log, name))
        write_base(log, _DISK, span.begin.base, span.begin.summary)
        yield log
