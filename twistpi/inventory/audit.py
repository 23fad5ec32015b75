"""Which versions here an advisory affects.

An advisory is about the project of that name at the public index.  So it concerns what mirrors cached, and copies of that: files
of private indexes whose name and SHA-256 a mirror here lists.  Other uploads only share the name; policies do not hold them back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from twistpi.advisories.store import AdvisoryStore
from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import Json
from twistpi.rules.advisories import Finding, by_weight, is_at_least
from twistpi.statistics.download_queries import Scope
from twistpi.statistics.downloads import Downloads
from twistpi.view.read import Reader
from twistpi.view.read_uses import StoredFile

COLUMNS: Final = (
    "index", "project", "version", "files", "downloads", "advisory", "malware", "severity", "fixed", "published", "summary",
)  # fmt: skip
"""Of a table of affected versions, a row for each advisory."""
MALWARE, ANY = "malware", "any"
"""What ``AffectedVersion.is_as_bad_as`` takes beside the severities."""


@attrs.frozen
class AffectedVersion:
    """A version that an index has, and what is known against it."""

    index: str
    project: str
    version: str
    """As the name of the first file has it."""
    files: tuple[str, ...]
    """The names of those that are here."""
    downloads: int
    """Of all time, of these files from this index."""
    findings: tuple[Finding, ...]
    """The worst first."""

    @property
    def is_malware(self) -> bool:
        """Whether an advisory says so."""
        return any(one.is_malware for one in self.findings)

    @property
    def severity(self) -> str:
        """The worst that is known; empty where none is."""
        return next((one.severity for one in sorted(self.findings, key=by_weight, reverse=True) if one.severity), "")

    def is_as_bad_as(self, least: str) -> bool:
        """Return whether a finding has the severity ``least`` or a worse one; malware is worse than everything.

        ``malware`` stands for that alone, ``any`` for findings of unknown severity, too.
        """
        return least == ANY or self.is_malware or any(is_at_least(one.severity, least) for one in self.findings)

    def fields(self) -> dict[str, Json]:
        """Return it for programs."""
        return {
            "index": self.index,
            "project": self.project,
            "version": self.version,
            "downloads": self.downloads,
            "files": list(self.files),
            "malware": self.is_malware,
            "severity": self.severity or None,
            "advisories": [
                {
                    "id": one.advisory,
                    "summary": one.summary,
                    "malware": one.is_malware,
                    "severity": one.severity or None,
                    "fixed": one.fixed,
                    "published": one.since,
                }
                for one in self.findings
            ],
        }


def find_affected(
    reader: Reader, store: AdvisoryStore, downloads: Downloads, is_included: Callable[[str], bool] = lambda index: True
) -> Sequence[AffectedVersion]:
    """Return what is affected in the indexes that ``is_included`` takes, the most downloaded first.  Blocking."""
    affected: list[AffectedVersion] = []
    for project in filter(store.has, reader.project_names()):
        found = list(_affected(reader, store, project, is_included))
        if found:
            numbers = downloads.of_files(Scope(tuple({one.index for one in found}), project))
            affected += [
                attrs.evolve(one, downloads=sum(numbers.get((one.index, filename), 0) for filename in one.files)) for one in found
            ]
    return sorted(affected, key=_rank)


def _affected(
    reader: Reader, store: AdvisoryStore, project: str, is_included: Callable[[str], bool]
) -> Iterator[AffectedVersion]:
    """Yield the affected versions of ``project``, without their downloads."""
    advisories = store.of(project)
    stored: dict[tuple[str, str], list[StoredFile]] = {}
    for file in reader.stored_files(project):
        version = version_of_filename(file.filename, project)
        if version is not None and is_included(file.index):
            stored.setdefault((file.index, comparable_version(version)), []).append(file)
    for (index, _), files in stored.items():
        version = version_of_filename(files[0].filename, project) or ""
        findings = [one.finding(version) for one in advisories if one.affects(version)]
        public = [file.filename for file in files if file.is_mirrored or reader.is_mirrored(file.filename, file.sha256)]
        if findings and public:
            yield AffectedVersion(index, project, version, tuple(public), 0, tuple(sorted(findings, key=by_weight, reverse=True)))


def _rank(one: AffectedVersion) -> tuple[int, bool, str, str, str]:
    return -one.downloads, not one.is_malware, one.project, one.index, one.version


def audit_fields(found: Iterable[AffectedVersion]) -> list[Json]:
    """Return an audit for programs."""
    return [one.fields() for one in found]


def audit_csv(found: Iterable[AffectedVersion]) -> str:
    """Return an audit as a table with a header and a row for each advisory."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for one in found:
        facts = (one.index, one.project, one.version, len(one.files), one.downloads)
        for finding in one.findings:
            is_malware = "yes" if finding.is_malware else "no"
            told = (finding.severity, finding.fixed or "", finding.since or "", finding.summary)
            writer.writerow((*facts, finding.advisory, is_malware, *told))
    return text.getvalue()
