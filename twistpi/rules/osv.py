"""Records of the Open Source Vulnerability format (OSV schema 1.7), as far as they are about Python packages.

A record names packages with the versions that are affected: one by one, or as ranges between events.  Only ranges of the type
``ECOSYSTEM`` have versions that installers know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

import attrs
from cvss import CVSS2, CVSS3, CVSS4
from cvss.exceptions import CVSSError
from packaging.version import InvalidVersion, Version

from twistpi.model.errors import InvalidName
from twistpi.model.names import comparable_version, normalize_project
from twistpi.model.records import Json
from twistpi.model.text import one_line
from twistpi.rules.advisories import SEVERITIES, Finding

_ECOSYSTEM: Final = "PyPI"
_MALWARE: Final = "MAL-"
_LONGEST_SUMMARY: Final = 300
"""Characters."""
_MOST_VERSIONS: Final = 20_000
"""Of one package in one record."""
_MOST_RANGES: Final = 2_000
"""The same."""
_CVSS: Final = {"CVSS_V2": CVSS2, "CVSS_V3": CVSS3, "CVSS_V4": CVSS4}
_NAMED: Final = {"moderate": "medium", "none": ""}
"""What GitHub calls otherwise."""


class NotARecord(ValueError):
    """A JSON value is no record of the format; the text says why."""


@attrs.frozen
class Range:
    """Versions from one on, up to another."""

    introduced: str
    """The first affected version; ``0`` is before all."""
    fixed: str | None = None
    """The first that is not affected any more; None where there is none."""
    last_affected: str | None = None
    """The last affected version, where that is known instead."""


@attrs.frozen
class Advisory:
    """What a record says of one package."""

    project: str
    """The normalised name."""
    id: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    """One line."""
    severity: str = ""
    """One of ``rules.advisories.SEVERITIES``; empty where it is not known."""
    published: str = ""
    """UTC, as the record has it."""
    modified: str = ""
    versions: tuple[str, ...] = ()
    """Affected versions that are named one by one."""
    ranges: tuple[Range, ...] = ()

    @property
    def is_malware(self) -> bool:
        """Whether the package does harm by intent."""
        return any(name.startswith(_MALWARE) for name in (self.id, *self.aliases))

    def affects(self, version: str) -> bool:
        """Return whether ``version``, as the name of a file has it, is affected.

        What is no version by PEP 440 is affected where it is named, and where all versions are.  A build with a local version
        (``2.0+cu124``) is affected where the version that it is a build of is, unless a fix has a local version itself.
        """
        comparable, parsed = _spelled(version)
        if comparable in self._comparable:
            return True
        if parsed is None:
            return any(one.introduced == "0" and one.fixed is one.last_affected is None for one in self.ranges)
        public = Version(parsed.public) if parsed.local else parsed
        return (parsed.local is not None and _written(parsed.public) in self._comparable) or any(
            (start is None or start <= parsed) and (fixed is None or parsed < fixed) and (last is None or public <= last)
            for start, fixed, last in self._bounds
        )

    @cached_property
    def _comparable(self) -> frozenset[str]:
        """The affected versions, as ``comparable_version`` has them."""
        return frozenset(map(_written, self.versions))

    @cached_property
    def _bounds(self) -> tuple[tuple[Version | None, Version | None, Version | None], ...]:
        """For each range its first version, the first that is not in it, and its last; each None where there is none."""
        readable = (one for one in self.ranges if one.introduced == "0" or _version(one.introduced) is not None)
        return tuple((_start(one), _version(one.fixed or ""), _version(one.last_affected or "")) for one in readable)

    def finding(self, version: str) -> Finding:
        """Return what is said of the affected ``version``."""
        _comparable, parsed = _spelled(version)
        later = [
            fixed
            for one in self.ranges
            if one.fixed is not None and (fixed := _version(one.fixed)) is not None and (parsed is None or fixed > parsed)
        ]
        fixed_in = str(min(later)) if later else None
        return Finding(self.id, self.summary, self.is_malware, self.severity, self.published or None, fixed_in)


def read_record(record: Json) -> Iterator[Advisory]:
    """Yield what ``record`` says of each Python package; nothing of one that was withdrawn.

    Raise ``NotARecord``.  Keys of another type than the schema says are passed over.
    """
    if not isinstance(record, dict) or not _text(record.get("id")):
        raise NotARecord("it is no JSON object with an id")
    if record.get("withdrawn"):
        return
    common = Advisory(
        "",
        _text(record["id"]),
        tuple(alias for value in _list(record.get("aliases")) if (alias := _text(value))),
        one_line(_text(record.get("summary")) or _text(record.get("details")))[:_LONGEST_SUMMARY],
        published=_text(record.get("published")),
        modified=_text(record.get("modified")),
    )
    merged: dict[str, Advisory] = {}
    for affected in _list(record.get("affected")):
        package = affected.get("package") if isinstance(affected, dict) else None
        if not isinstance(package, dict) or _text(package.get("ecosystem")).partition(":")[0] != _ECOSYSTEM:
            continue
        try:
            project = normalize_project(_text(package.get("name")))
        except InvalidName:
            continue
        found = attrs.evolve(
            common,
            project=project,
            severity=severity_of(record, affected),
            versions=tuple(text for value in _list(affected.get("versions"))[:_MOST_VERSIONS] if (text := _text(value))),
            ranges=tuple(islice(_ranges(affected), _MOST_RANGES)),
        )
        before = merged.get(project)
        merged[project] = found if before is None else _together(before, found)
    yield from merged.values()


def _together(one: Advisory, other: Advisory) -> Advisory:
    return attrs.evolve(
        one,
        versions=tuple(dict.fromkeys((*one.versions, *other.versions))),
        ranges=(*one.ranges, *other.ranges),
        severity=max(one.severity, other.severity, key=lambda severity: SEVERITIES.index(severity) if severity else -1),
    )


def severity_of(record: Mapping[str, Json], affected: Mapping[str, Json]) -> str:
    """Return the worst severity that a record tells, in words or as CVSS vectors; empty when it tells none."""
    told = [*_named(affected.get("database_specific")), *_named(record.get("database_specific"))]
    told += _scored(affected.get("severity")) or _scored(record.get("severity"))
    known = [severity for severity in told if severity in SEVERITIES]
    return max(known, key=SEVERITIES.index, default="")


def _named(specific: Json) -> Iterator[str]:
    if isinstance(specific, dict):
        severity = _text(specific.get("severity")).lower()
        yield _NAMED.get(severity, severity)


def _scored(severities: Json) -> list[str]:
    found = []
    for severity in _list(severities):
        if isinstance(severity, dict) and (told := _of_vector(_text(severity.get("type")), _text(severity.get("score")))):
            found.append(told)
    return found


@lru_cache(maxsize=4096)
def _of_vector(kind: str, vector: str) -> str:
    """Return the severity of a CVSS vector; empty for what is none.  Few different ones are in use."""
    if kind not in _CVSS:
        return ""
    try:
        return str(_CVSS[kind](vector).severities()[0]).lower()
    except CVSSError:
        return ""


def _ranges(affected: Mapping[str, Json]) -> Iterator[Range]:
    for one in _list(affected.get("ranges")):
        if isinstance(one, dict) and one.get("type") == "ECOSYSTEM":
            yield from _between([event for event in _list(one.get("events")) if isinstance(event, dict)])


def _between(events: Iterable[Mapping[str, Json]]) -> Iterator[Range]:
    """Yield the ranges between ``events``, which the schema allows in any order."""
    moments = sorted((moment for event in events for moment in _moments(event)), key=lambda moment: moment[:2])
    introduced: str | None = None
    for _at, _order, kind, version in moments:
        if kind == "introduced":
            introduced = version if introduced is None else introduced
        elif introduced is not None:
            yield Range(introduced, version) if kind == "fixed" else Range(introduced, last_affected=version)
            introduced = None
    if introduced is not None:
        yield Range(introduced)


def _moments(event: Mapping[str, Json]) -> Iterator[tuple[Version, int, str, str]]:
    """Yield the version of an event to sort by, what comes first at equal versions, its kind, and the version as it stands."""
    for order, kind in enumerate(("fixed", "introduced", "last_affected")):
        version = _text(event.get(kind))
        if version and (parsed := _version(version)) is not None:
            yield parsed, order, kind, version


def _start(one: Range) -> Version | None:
    return None if one.introduced == "0" else _version(one.introduced)


@lru_cache(maxsize=4096)
def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


@lru_cache(maxsize=4096)
def _spelled(version: str) -> tuple[str, Version | None]:
    """Return a version, as the name of a file has it, to be compared with those that are named, and with ranges."""
    return _written(version), _version(version.replace("_", "-"))


_written = lru_cache(maxsize=4096)(comparable_version)
"""The same text for the same versions: advisories about a project name mostly the same ones."""


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
