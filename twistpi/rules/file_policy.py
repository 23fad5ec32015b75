"""Which files of mirrors an index offers: by age, name, version, kind, platform, size and known vulnerabilities.

A policy is a set of keys of an index.  It is about what mirrors bring in: an index's own uploads are never held back, but for
quarantine.  Of the files that come through several indexes each index's policy counts, so that an index is at least as strict as
its bases.

Sources: "Version specifiers" (PEP 440), "Platform compatibility tags" (PEP 425), "Simple repository API" (PEP 700) for upload
times and sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from shlex import quote
from typing import Final

import attrs

from twistpi.model.names import is_archive, is_wheel, parsed_version
from twistpi.model.records import Index, Json, KnownFile
from twistpi.rules.advisories import BLOCK_MALWARE, OFF, REPORT, Advisory, Finding, by_weight, matters
from twistpi.rules.requirements import NO_REQUIREMENTS, Requirement, RequirementList

MIN_RELEASE_AGE: Final = "min_release_age"
EXEMPT: Final = "min_release_age_exempt"
ALLOW: Final = "allow"
DENY: Final = "deny"
QUARANTINED: Final = "quarantined"
PLATFORMS: Final = "allow_platforms"
PYTHON_TAGS: Final = "allow_python_tags"
DENY_SDISTS: Final = "deny_sdists"
DENY_PRERELEASES: Final = "deny_prereleases"
MAX_FILE_SIZE: Final = "max_file_size"
ADVISORIES: Final = "advisories"
MODE: Final = "policy_mode"
POLICY_KEYS: Final = (
    MIN_RELEASE_AGE,
    EXEMPT,
    ALLOW,
    DENY,
    QUARANTINED,
    PLATFORMS,
    PYTHON_TAGS,
    DENY_SDISTS,
    DENY_PRERELEASES,
    MAX_FILE_SIZE,
    ADVISORIES,
    MODE,
)
"""The keys of an index that make its policy."""
NEVER: Final = math.inf
_ANY: Final = "any"
_FINAL: Final = re.compile(r"[0-9.]+\Z")
"""Versions that are no pre-releases, told without parsing them."""
_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""Unix seconds; later moments cannot be written down."""
_TO_THE_SECOND: Final = len("2026-12-07T09:30:00")


@attrs.frozen
class Refusal:
    """Why a file is not offered."""

    rule: str
    """The key of the index that says so."""
    index: str
    """The index that has the key."""
    reason: str
    """A clause that follows a colon, without a full stop."""
    remedy: str
    """A sentence: what the reader, or who administers the index, can do."""
    since: str | None = None
    """UTC, since when the rule holds for the file; None where that is not known."""
    until: float = NEVER
    """Unix seconds at which the rule ends by itself."""
    is_enforced: bool = True
    """False for what would be refused, were the policy not in the mode ``report``."""

    def sentence(self, filename: str) -> str:
        """Return the sentence for those who request the file ``filename``."""
        since = f" Since {self.since}." if self.since else ""
        until = f" Until {utc(self.until)}." if self.until < NEVER else ""
        return f"{filename} is not offered, by the rule {self.rule} of {self.index}: {self.reason}.{since}{until} {self.remedy}"


@attrs.frozen
class VersionRuling:
    """What a policy says of all files of a version."""

    refusal: Refusal | None
    """Why none of them is offered; None where that depends on the file."""
    is_exempt: bool
    """Whether the age of a file does not matter."""


@attrs.frozen
class FilePolicy:
    """What one index says about files of mirrors."""

    index: str
    min_age: float = 0.0
    """Seconds since the upload."""
    exempt: RequirementList = NO_REQUIREMENTS
    allow: RequirementList | None = None
    """None where everything is allowed."""
    deny: RequirementList = NO_REQUIREMENTS
    quarantined: tuple[tuple[Requirement, str], ...] = ()
    """Each with the reason."""
    platforms: tuple[str, ...] | None = None
    """Beginnings of platform tags; None for all."""
    python_tags: tuple[str, ...] | None = None
    """Beginnings of interpreter tags; None for all."""
    deny_sdists: bool = False
    deny_prereleases: bool = False
    max_size: int | None = None
    """Bytes."""
    advisories: str = OFF
    """One of ``rules.advisories.SETTINGS``."""
    is_enforced: bool = True
    against: tuple[Advisory, ...] = ()
    """The advisories that matter, of a policy ``about`` one project."""

    def has_names(self, project: str) -> bool:
        """Return whether the allow list, where there is one, names ``project`` in any version."""
        return self.allow is None or any(self.allow.naming(project))

    def about(self, project: str, known: Sequence[Advisory] = ()) -> FilePolicy:
        """Return the same for ``project`` alone, without what is about others, and with the ``known`` advisories about it."""
        against = tuple(one for one in known if matters(self.advisories, one))
        if not self._has_lists:
            return attrs.evolve(self, against=against) if against else self
        quarantined = tuple(one for one in self.quarantined if one[0].matches_name(project))
        allow = None if self.allow is None else self.allow.about(project)
        exempt, deny = self.exempt.about(project), self.deny.about(project)
        return attrs.evolve(self, quarantined=quarantined, allow=allow, exempt=exempt, deny=deny, against=against)

    @cached_property
    def _has_lists(self) -> bool:
        return bool(self.quarantined or self.exempt or self.deny) or self.allow is not None

    @cached_property
    def is_silent(self) -> bool:
        """Whether no file is refused, and nothing is known against any: that is cheaper to know once than for each file."""
        has_rules = self.against or self.min_age or self.quarantined or self.deny or self.deny_sdists
        is_limited = any(one is not None for one in (self.allow, self.platforms, self.python_tags, self.max_size))
        return not (has_rules or is_limited or self.deny_prereleases)

    def rule_on(self, project: str, version: str) -> VersionRuling:
        """Return what counts for all files of ``version`` of ``project``, as the name of a file has it."""
        refusal = self._by_name(project, version) or self._by_prerelease(version) or self._by_advisories(project, version)
        return VersionRuling(refusal, not self.min_age or self.exempt.match(project, version) is not None)

    def judge(self, project: str, file: KnownFile, now: float, ruling: VersionRuling) -> Refusal | None:
        """Return why ``file`` of ``project`` is refused at ``now`` (Unix seconds), or None; ``ruling`` is that on its version.

        What never ends comes before the age, which ends by itself, and what is refused before what is only reported.
        """
        if ruling.refusal is not None and ruling.refusal.is_enforced is self.is_enforced:
            return ruling.refusal
        return self._by_kind(file) or (None if ruling.is_exempt else self._by_age(project, file, now)) or ruling.refusal

    def _refuse(self, rule: str, reason: str, remedy: str, since: str | None = None, until: float = NEVER) -> Refusal:
        return Refusal(rule, self.index, reason, remedy, since, until, self.is_enforced)

    def _by_name(self, project: str, version: str) -> Refusal | None:
        for quarantined, reason in self.quarantined:
            if quarantined.matches(project, version):
                remedy = f"Who administers {self.index} can release it: twistpi release {self.index} {quote(str(quarantined))}"
                return self._refuse(QUARANTINED, f"{quarantined} is in quarantine{f', {reason}' if reason else ''}", remedy)
        if (denied := self.deny.match(project, version)) is not None:
            return self._refuse(DENY, f"{denied} is denied", f"Take another version, or ask who administers {self.index}.")
        if self.allow is not None and self.allow.match(project, version) is None:
            remedy = f"Ask who administers {self.index} to allow it."
            return self._refuse(ALLOW, f"{project} {version} is not on the list of what is allowed", remedy)
        return None

    def _by_prerelease(self, version: str) -> Refusal | None:
        if not self.deny_prereleases or _FINAL.match(version):
            return None
        if (parsed := parsed_version(version)) is not None and parsed.is_prerelease:
            return self._refuse(DENY_PRERELEASES, f"{version} is a pre-release", "Take a final release.")
        return None

    def _by_kind(self, file: KnownFile) -> Refusal | None:
        filename = file.link.filename
        if self.deny_sdists and is_archive(filename):
            return self._refuse(DENY_SDISTS, "it is a source distribution, which runs code when it is built", "Take a wheel.")
        if self.max_size is not None:
            size = file.size if file.size is not None else file.link.size
            if size is not None and size > self.max_size:
                reason = f"it has {size:,} bytes, {self.max_size:,} are allowed"
                return self._refuse(MAX_FILE_SIZE, reason, f"Ask who administers {self.index}.")
        if (self.python_tags is None and self.platforms is None) or not is_wheel(filename):
            return None
        key, offending = _offending_tags(tuple(filename[:-4].rsplit("-", 3)[-3:]), self.python_tags, self.platforms)
        if not key:
            return None
        allowed = self.python_tags if key == PYTHON_TAGS else self.platforms
        remedy = f"Allowed are {', '.join(sorted(allowed or ()))}."
        return self._refuse(key, f"it is for {offending.replace('.', ', ')}", remedy)

    def _by_advisories(self, project: str, version: str) -> Refusal | None:
        """Return the refusal by the gravest of the advisories that affect ``version``."""
        findings = [advisory.finding(version) for advisory in self.against if advisory.affects(version)]
        if not findings:
            return None
        found = max(findings, key=by_weight)
        is_enforced = self.is_enforced and self.advisories != REPORT
        return attrs.evolve(self._refuse(ADVISORIES, *_reasons(project, version, found), found.since), is_enforced=is_enforced)

    def _by_age(self, project: str, file: KnownFile, now: float) -> Refusal | None:
        uploaded = file.link.upload_time
        if uploaded is not None and uploaded[-1:] == "Z" and uploaded[:_TO_THE_SECOND] < _moment(int(now - self.min_age)):
            return None  # nearly all, at a tenth of the time
        at = _unix(uploaded)
        if at is not None and at + self.min_age <= now:
            return None
        remedy = f"Take an older version until then; who administers {self.index} can exempt it: {EXEMPT}+={project}"
        if at is None:
            return self._refuse(MIN_RELEASE_AGE, "it is not known when it was uploaded", remedy)
        reason = f"it was uploaded less than {duration(self.min_age)} ago"
        until = at + self.min_age
        return self._refuse(MIN_RELEASE_AGE, reason, remedy, uploaded, until if until < _END_OF_TIME else NEVER)


def _reasons(project: str, version: str, finding: Finding) -> tuple[str, str]:
    """Return the reason and the remedy of a refusal by ``finding``."""
    severity = f" ({finding.severity})" if finding.severity else ""
    kind = "is malware" if finding.is_malware else f"has a vulnerability{severity}"
    remedy = f"Take {finding.fixed} or later." if finding.fixed else "Remove it from your requirements."
    summary = f": {finding.summary.rstrip('.')}" if finding.summary else ""
    return f"{project} {version} {kind}, {finding.advisory}{summary}", remedy


def policy_of(index: Index) -> FilePolicy | None:
    """Return the policy of ``index``; None for a private index without one.  That of a mirror blocks malware at least."""
    config = index.config
    if not index.is_mirror and not any(key in config for key in POLICY_KEYS):
        return None
    return FilePolicy(
        index.name,
        float(config.get(MIN_RELEASE_AGE, 0)),
        _requirements(config, EXEMPT),
        _requirements(config, ALLOW) if config.get(ALLOW) else None,
        _requirements(config, DENY),
        tuple(_quarantined(text) for text in config.get(QUARANTINED, ())),
        _beginnings(config, PLATFORMS),
        _beginnings(config, PYTHON_TAGS),
        bool(config.get(DENY_SDISTS)),
        bool(config.get(DENY_PRERELEASES)),
        config.get(MAX_FILE_SIZE),
        advisories=str(config.get(ADVISORIES, BLOCK_MALWARE if index.is_mirror else OFF)),
        is_enforced=config.get(MODE) != REPORT,
    )


def quarantine_of(index: Index) -> FilePolicy | None:
    """Return what counts of the policy of ``index`` for uploads as well; None where that is nothing."""
    policy = policy_of(index) if index.config.get(QUARANTINED) else None
    if policy is None:
        return None
    return FilePolicy(index.name, quarantined=policy.quarantined, is_enforced=policy.is_enforced)


def _requirements(config: Mapping[str, Json], key: str) -> RequirementList:
    return RequirementList.parse(config[key]) if config.get(key) else NO_REQUIREMENTS


def _quarantined(text: str) -> tuple[Requirement, str]:
    """Read a requirement with a reason behind a blank, which ``quarantine_text`` writes."""
    requirement, _, reason = text.partition(" ")
    return Requirement.parse(requirement), reason


def quarantine_text(requirement: Requirement, reason: str) -> str:
    """Return an item of the key ``quarantined``."""
    return f"{requirement} {' '.join(reason.split())}".strip()


def _beginnings(config: Mapping[str, Json], key: str) -> tuple[str, ...] | None:
    return tuple(str(tag).lower() for tag in config[key]) if config.get(key) else None


@lru_cache(maxsize=2048)
def _offending_tags(
    tags: tuple[str, ...], python_tags: tuple[str, ...] | None, platforms: tuple[str, ...] | None
) -> tuple[str, str]:
    """Return which key of a policy is against a wheel, and the tags that it is against; two empty texts where none is.

    ``tags`` are those for Python, ABI and platform; a project has thousands of files, and few combinations of tags.
    """
    *_, python, _abi, platform = ("", "", *(tag.lower() for tag in tags))
    if python_tags is not None and not _any_begins(python, python_tags):
        return PYTHON_TAGS, python
    if platforms is not None and not _any_begins(platform, (*platforms, _ANY)):
        return PLATFORMS, platform
    return "", ""


def _any_begins(tags: str, beginnings: tuple[str, ...]) -> bool:
    """Return whether one of ``tags``, with points between them, begins so."""
    return tags.startswith(beginnings) or ("." in tags and any(tag.startswith(beginnings) for tag in tags.split(".")))


@lru_cache(maxsize=64)
def _moment(seconds: int) -> str:
    """Return Unix seconds as pages have times in UTC, up to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _unix(moment: str | None) -> float | None:
    """Return the Unix seconds of a time as a page has it; None where it has none."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def utc(seconds: float) -> str:
    """Return Unix ``seconds`` as people read them: ``2026-12-07 09:30:00 UTC``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """Return a number of seconds in the largest unit that divides it: ``7 days``, ``36 hours``."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds) // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"
