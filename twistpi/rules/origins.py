"""Where the files of a project come from, and which are hidden and why, in sentences for its page.  Pure.

The decisions are those of ``inheritance.explain``; here they get words, and nothing is said of indexes that the reader may not
see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import attrs

from twistpi.model.records import NOTHING, KnownProject
from twistpi.model.text import counted
from twistpi.rules.explanation import Explanation, IndexFate, Refusals, Verdict, explain
from twistpi.rules.file_policy import NEVER, utc
from twistpi.rules.inheritance import VisibleIndexes

_NAMED: Final = 3
"""Hidden files that are named."""


@attrs.frozen
class Origin:
    """What one index has to do with a project."""

    index: str
    kind: str
    """``own``, ``inherited`` or ``mirrored``."""
    contributes: bool
    """Whether files of it are shown."""
    sentence: str


def explain_visible(
    visibility: VisibleIndexes,
    project: str,
    knowledge: Mapping[str, KnownProject],
    contributing: Collection[str],
    failures: Mapping[str, str] = NOTHING,
    refusals: Refusals = NOTHING,
) -> tuple[Origin, ...]:
    """Return what each index that the reader may see has to do with ``project`` (normalised), nearest first.

    ``knowledge`` has what each of them has of it, ``contributing`` the names of those that ``visible_sources`` found,
    ``failures`` why upstreams could not be asked, by index, ``refusals`` what policies have against files.  Indexes that have no
    such project are left out, but for those that failed.
    """
    explanation = explain(visibility.visible, project, None, knowledge, failures, refusals=refusals)
    return tuple(_origins(explanation, visibility.index.name, contributing))


def _origins(explanation: Explanation, requested: str, contributing: Collection[str]) -> Iterator[Origin]:
    for fate in explanation.fates:
        index = fate.index
        kind = "mirrored" if index.is_mirror else "own" if index.name == requested else "inherited"
        if fate.verdict is Verdict.BARRED:
            sentence = f"Not asked: the allow list of {fate.barred_by} does not name {explanation.project}."
            yield Origin(index.name, kind, False, sentence)
            continue
        is_silenced = fate.verdict is Verdict.SILENCED or (index.is_mirror and index.name not in contributing)
        if is_silenced:
            yield Origin(index.name, kind, False, _silenced(fate, explanation, requested))
        elif fate.verdict is not Verdict.ABSENT:
            yield Origin(index.name, kind, fate.verdict is Verdict.ANSWERS, _sentence(fate, explanation))


def _silenced(fate: IndexFate, explanation: Explanation, requested: str) -> str:
    ruling, project = explanation.ruling, explanation.project
    if ruling.reserved is not None:
        return f"Not asked: {ruling.reserved} reserves the name {project} (its setting reserved), so that no mirror can offer it."
    if fate.silenced_by is None:
        return f"Not asked: an index that {requested} inherits from keeps the name from mirrors."
    return (
        f"Not asked: {fate.silenced_by} has a project of this name, and a mirror must not add to it. "
        f"To allow it, add {project} to the mirror_whitelist of {requested}."
    )


def _sentence(fate: IndexFate, explanation: Explanation) -> str:
    ruling = explanation.ruling
    if fate.verdict is Verdict.FAILED:
        return f"Cannot tell now what it has: {fate.reason}"
    if fate.verdict is Verdict.EMPTY:
        return _withheld(fate)
    shown = sum(file.shown for file in fate.files)
    words = [f"{counted(shown, 'file')} shown."] if shown else []
    if fate.index.is_mirror and ruling.whitelisted is not None:
        words.append(
            f"It may add to private projects of this name, because the mirror_whitelist of {ruling.whitelisted} says so."
        )
    words.extend(_refused(fate))
    words.extend(_hidden(fate))
    if fate.reason is not None:
        words.append(f"Its upstream did not answer: {fate.reason}")
    return " ".join(words)


def _withheld(fate: IndexFate) -> str:
    if any(file.withheld == "refused" for file in fate.files):
        return " ".join(_refused(fate))
    if any(file.withheld == "quarantined" for file in fate.files):
        return "Its files are not offered: the project is in quarantine."
    if any(file.withheld == "vanished" for file in fate.files):
        return "Its files are not offered: the upstream does not list them any more."
    return "It has the project, but no file."


def _refused(fate: IndexFate) -> Iterator[str]:
    """Yield how many files policies do not offer, by which rules, and when the next one appears."""
    refusals = [file.refusal for file in fate.files if file.withheld == "refused" and file.refusal is not None]
    if not refusals:
        return
    rules = ", ".join(dict.fromkeys(f"{refusal.rule} of {refusal.index}" for refusal in refusals))
    until = min(refusal.until for refusal in refusals)
    appears = f" The next one appears {utc(until)}." if until < NEVER else ""
    yield f"{counted(len(refusals), 'file')} not offered, by {rules}.{appears}"


def _hidden(fate: IndexFate) -> Iterator[str]:
    """Yield which files are not shown, because a nearer index has files of the same names."""
    hidden: dict[str, list[str]] = {}
    for file in fate.files:
        if file.shadowed_by is not None:
            hidden.setdefault(file.shadowed_by, []).append(file.filename)
    for nearer, names in hidden.items():
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        subject = f"{counted(len(names), 'file')} hidden ({', '.join(names[:_NAMED])}{more})"
        yield f"{subject}: {nearer} is nearer and has files of the same names."
