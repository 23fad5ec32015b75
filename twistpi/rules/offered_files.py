"""What is left of a project of a mirror once the policies of the indexes that it comes through were applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import attrs

from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import Index, KnownFile, KnownProject
from twistpi.rules.advisories import Advise, no_advisories
from twistpi.rules.file_policy import NEVER, FilePolicy, Refusal, VersionRuling, policy_of, quarantine_of


def policies_for(owner: Index, order: Iterable[Index]) -> tuple[FilePolicy, ...]:
    """Return what counts for the files of ``owner`` on an index that inherits from ``order``, itself included.

    For those of a private index that is quarantine alone.
    """
    if not owner.is_mirror:
        return tuple(found for index in order if not index.is_mirror and (found := quarantine_of(index)) is not None)
    concerned = [index for index in order if not index.is_mirror or index.name == owner.name]
    return tuple(policy for index in concerned if (policy := policy_of(index)) is not None)


@attrs.frozen
class Judged:
    """A project of a mirror, after the policies."""

    known: KnownProject
    """Without the refused files."""
    refused: tuple[tuple[KnownFile, Refusal], ...] = ()
    """Also those that would be refused, were the policy enforced."""
    until: float = NEVER
    """Unix seconds at which the next file becomes visible."""


def apply_policies(known: KnownProject, policies: Sequence[FilePolicy], now: float, advise: Advise = no_advisories) -> Judged:
    """Return ``known`` as the ``policies`` let it through at ``now`` (Unix seconds)."""
    policies = _about(known.project, policies, advise)
    if not policies:
        return Judged(known)
    kept: list[KnownFile] = []
    refused: list[tuple[KnownFile, Refusal]] = []
    before: set[str] = set()
    after: set[str] = set()
    rulings: dict[str, list[tuple[FilePolicy, VersionRuling]]] = {}  # a version has several files
    for file in known.files:
        version = version_of_filename(file.link.filename, known.project) or ""
        if (ruling := rulings.get(version)) is None:
            ruling = rulings[version] = _rulings(known.project, version, policies)
        refusal = _refusal(known.project, file, ruling, now)
        before.add(version)
        if refusal is not None:
            refused.append((file, refusal))
        if refusal is None or not refusal.is_enforced:
            kept.append(file)
            after.add(version)
    if not refused:
        return Judged(known)
    until = min((refusal.until for _file, refusal in refused if refusal.is_enforced), default=NEVER)
    left = _versions_left(known, before, after)
    return Judged(attrs.evolve(known, files=tuple(kept), versions=left), tuple(refused), until)


def refusals_by_name(judged: Judged) -> Mapping[str, Refusal]:
    """Return what was found against files, by their names."""
    return {file.link.filename: refusal for file, refusal in judged.refused}


def refusal_of(
    project: str, file: KnownFile, policies: Iterable[FilePolicy], now: float, advise: Advise = no_advisories
) -> Refusal | None:
    """Return why ``file`` is refused at ``now``; an enforced refusal comes before one that is only reported."""
    version = version_of_filename(file.link.filename, project) or ""
    return _refusal(project, file, _rulings(project, version, _about(project, policies, advise)), now)


def refusal_of_release(project: str, version: str, policies: Iterable[FilePolicy]) -> Refusal | None:
    """Return why a release of a private index is refused, with its documentation and test results; an enforced refusal first."""
    found = (ruling.refusal for _policy, ruling in _rulings(project, version, policies))
    return min((one for one in found if one is not None), key=lambda one: not one.is_enforced, default=None)


def is_withheld(project: str, version: str, policies: Iterable[FilePolicy]) -> bool:
    """Return whether a release of a private index is not offered."""
    refusal = refusal_of_release(project, version, policies)
    return refusal is not None and refusal.is_enforced


def _about(project: str, policies: Iterable[FilePolicy], advise: Advise) -> Sequence[FilePolicy]:
    """Return what ``policies`` say about ``project``, without those that have nothing to say."""
    known = advise(project)
    return [found for policy in policies if not (found := policy.about(project, known)).is_silent]


def _rulings(project: str, version: str, policies: Iterable[FilePolicy]) -> list[tuple[FilePolicy, VersionRuling]]:
    return [(policy, policy.rule_on(project, version)) for policy in policies]


def _refusal(project: str, file: KnownFile, rulings: Iterable[tuple[FilePolicy, VersionRuling]], now: float) -> Refusal | None:
    reported: Refusal | None = None
    for policy, ruling in rulings:
        refusal = policy.judge(project, file, now, ruling)
        if refusal is not None and refusal.is_enforced:
            return refusal
        reported = reported or refusal
    return reported


def _versions_left(known: KnownProject, before: Set[str], after: Set[str]) -> tuple[str, ...]:
    """Return the versions that the page still names: those that had no file, and those that have one left.

    ``before`` and ``after`` are those that file names had.
    """
    gone = {*map(comparable_version, before - after)}
    gone -= {*map(comparable_version, after)} if gone else set()
    if not gone:
        return known.versions
    return tuple(version for version in known.versions if comparable_version(version) not in gone)
