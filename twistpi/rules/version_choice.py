"""Which version of a project an installer would take from an index, and what speaks against each newer one.  Pure.

It is what pip and uv do for one requirement alone (PEP 440, PEP 592): the newest version with a file for the environment, no
pre-release unless it is asked for or there is nothing else, no yanked file unless exactly its version is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from twistpi.model.names import parsed_version, version_of_filename
from twistpi.model.records import KnownFile, KnownProject, Link
from twistpi.rules.explanation import Explanation, FileFate
from twistpi.rules.file_policy import Refusal
from twistpi.rules.install_targets import Target, files_to_install

_EXACT: Final = frozenset({"==", "==="})


@attrs.frozen
class PassedOver:
    """A version that an installer does not take, although it is newer."""

    version: str
    reason: str
    """A clause, without a full stop."""
    refusal: Refusal | None = None
    """What a policy has against its first refused file; None where it is no policy."""


@attrs.frozen
class Choice:
    """What an installer takes."""

    version: str | None
    """None if there is nothing for it."""
    files: tuple[tuple[str, str], ...] = ()
    """Pairs of an index and a file of it that would be installed; without an environment all of them."""
    passed_over: tuple[PassedOver, ...] = ()
    """The newest first."""


@attrs.frozen
class _Candidate:
    """One version, over all indexes."""

    version: Version
    shown: tuple[tuple[str, KnownFile], ...]
    left_out: tuple[FileFate, ...]


def choose(
    explanation: Explanation, knowledge: Mapping[str, KnownProject], specifiers: SpecifierSet, target: Target | None
) -> Choice:
    """Return what of an ``explanation``, which was made of ``knowledge``, is taken for ``specifiers`` on ``target``.

    Without a target any file will do.
    """
    candidates = _candidates(explanation, knowledge)
    meeting = [one for one in candidates if specifiers.contains(one.version, prereleases=True)]
    has_final = any(not one.version.is_prerelease and _reason(one, specifiers, target) is None for one in meeting)
    wants_prereleases = bool(specifiers.prereleases) or not has_final
    passed: list[PassedOver] = []
    for one in meeting:
        reason = _reason(one, specifiers, target)
        if reason is None and one.version.is_prerelease and not wants_prereleases:
            reason = "it is a pre-release, which has to be asked for"
        if reason is None:
            links = {file.link.filename: index for index, file in one.shown}
            taken = list(links) if target is None else [link.filename for link in _installed(one, target)]
            return Choice(str(one.version), tuple((links[name], name) for name in taken), tuple(passed))
        refusal = next((fate.refusal for fate in one.left_out if fate.refusal is not None), None)
        passed.append(PassedOver(str(one.version), reason, None if one.shown else refusal))
    return Choice(None, (), tuple(passed))


def _candidates(explanation: Explanation, knowledge: Mapping[str, KnownProject]) -> list[_Candidate]:
    """Return the versions of all indexes, the newest first; files without a version in their names belong to none."""
    shown: dict[Version, list[tuple[str, KnownFile]]] = {}
    left_out: dict[Version, list[FileFate]] = {}
    for fate in explanation.fates:
        known = knowledge.get(fate.index.name)
        files = {} if known is None else {file.link.filename: file for file in known.files}
        for one in fate.files:
            version = parsed_version(version_of_filename(one.filename, explanation.project) or "")
            if version is not None and one.shown and one.filename in files:
                shown.setdefault(version, []).append((fate.index.name, files[one.filename]))
            elif version is not None and one.shadowed_by is None:
                left_out.setdefault(version, []).append(one)
    versions = sorted({*shown, *left_out}, reverse=True)
    return [_Candidate(one, tuple(shown.get(one, ())), tuple(left_out.get(one, ()))) for one in versions]


def _reason(one: _Candidate, specifiers: SpecifierSet, target: Target | None) -> str | None:
    """Return what speaks against a version; None for nothing."""
    if not one.shown:
        return _why_left_out(one.left_out)
    is_pinned = any(spec.operator in _EXACT and "*" not in spec.version for spec in specifiers)
    if not is_pinned and all(file.link.yanked is not False for _, file in one.shown):
        reasons = (file.link.yanked for _, file in one.shown)
        why = next((reason for reason in reasons if isinstance(reason, str) and reason), "")
        return f"it is yanked{f': {why}' if why else ''}"
    if target is not None and not _installed(one, target):
        left = _why_left_out(one.left_out) if one.left_out else ""
        return f"it has no file for Python {target.python} on {target.platform}{f'; of others, {left}' if left else ''}"
    return None


def _installed(one: _Candidate, target: Target) -> Sequence[Link]:
    return files_to_install([file.link for _, file in one.shown], [target])


_WITHHELD: Final = {
    "quarantined": "the project is in quarantine",
    "vanished": "the upstream does not list it any more",
    "silenced": "a private index has or reserves the name, so that mirrors do not answer",
}


def _why_left_out(fates: Sequence[FileFate]) -> str:
    return "; ".join(dict.fromkeys(_clauses(fates)))


def _clauses(fates: Sequence[FileFate]) -> Iterator[str]:
    for fate in fates:
        if fate.refusal is not None:
            yield f"{fate.refusal.rule} of {fate.refusal.index}: {fate.refusal.reason}"
        elif fate.withheld is not None:
            yield _WITHHELD[fate.withheld]
