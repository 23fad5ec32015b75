"""Remembers what a source told, so that the next look at it yields only what changed since.  Sixteen bytes for each file."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from typing import TypeVar

import attrs

from twistpi.rules.json_bodies import differing
from twistpi.transfer.records import FileRecord, IndexRecord, ReleaseRecord, RemovalRecord, UserRecord, file_key, release_key

_Settings = TypeVar("_Settings", UserRecord, IndexRecord)


@attrs.define(eq=False)
class _Project:
    """What was told of a project."""

    answer: bytes = b""
    """The digest of the answer; empty for one that is to be looked at again."""
    keys: array[int] = attrs.field(factory=lambda: array("Q"))
    """Of its releases and files, in order."""


@attrs.define(eq=False)
class SourceMemory:
    """Compares what a source tells with what it told before."""

    _settings: dict[str, UserRecord | IndexRecord] = attrs.field(factory=dict, init=False)
    """Users and indexes by subject, as they were when all was told."""
    _new_settings: dict[str, UserRecord | IndexRecord] = attrs.field(factory=dict, init=False)
    """Those that were told since."""
    _projects: dict[str, dict[str, _Project]] = attrs.field(factory=dict, init=False)
    """By index and name."""

    def look_again(self) -> None:
        """Treat every project as changed, because not everything could be imported."""
        for projects in self._projects.values():
            for project in projects.values():
                project.answer = b""

    def settings(self, record: _Settings) -> _Settings | None:
        """Return ``record`` with its former settings; None when it is as it was."""
        former = self._settings.get(record.subject)
        self._new_settings[record.subject] = record
        if former is None:
            return record
        if not differing(record.config, former.config) and record.config.keys() == former.config.keys():
            return None
        return attrs.evolve(record, former=former.config)

    def knows_answer(self, index: str, project: str, answer: bytes) -> bool:
        """Whether ``answer`` is what was told of a project before; remember it."""
        digest = hashlib.blake2b(answer, digest_size=16).digest()
        known = self._projects.setdefault(index, {}).setdefault(project, _Project())
        is_known, known.answer = known.answer == digest, digest
        return is_known

    def removals(
        self, index: str, project: str, releases: Sequence[ReleaseRecord], files: Sequence[FileRecord]
    ) -> Iterator[RemovalRecord]:
        """Yield what a project had before, and has no more; remember what it has."""
        known = self._projects.setdefault(index, {}).setdefault(project, _Project())
        keys = {release_key(release.version) for release in releases} | {file_key(str(file.path)) for file in files}
        gone = frozenset(known.keys).difference(keys)
        known.keys = array("Q", sorted(keys))
        if gone:
            yield RemovalRecord(index, project, gone)

    def vanished(self, index: str, projects: Sequence[str]) -> Iterator[RemovalRecord]:
        """Yield all of those projects of ``index`` that were there before, and are not among ``projects``."""
        known = self._projects.get(index, {})
        for project in known.keys() - set(projects):
            gone = frozenset(known.pop(project).keys)
            if gone:
                yield RemovalRecord(index, project, gone)

    def all_told(self, subjects: set[str]) -> Iterator[str]:
        """Yield the users and indexes that were there before, and are not among ``subjects``, when all was told and taken."""
        yield from sorted(self._settings.keys() - subjects)
        self._settings, self._new_settings = self._new_settings, {}
