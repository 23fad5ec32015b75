"""``twistpi explain``: which index answers for a project, and which rule hid what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from twistpi.cli.administration import Administration
from twistpi.model.errors import UnknownIndex
from twistpi.model.names import IndexName, normalize_project
from twistpi.model.records import Index
from twistpi.rules.inheritance import (
    Explanation,
    FileFate,
    IndexFate,
    Ruling,
    Verdict,
    explain,
    resolution_order,
    rule_on_mirrors,
)

_PAGE: Final = "application/vnd.pypi.simple.v1+json"
_MOST_FILES: Final = 10
"""Files of an index that are listed when no version is named."""


def explain_project(administration: Administration, name: str, project: str, version: str | None) -> Explanation:
    """Return what the index ``name`` shows for ``project``, or for one version of it, and why.

    A running server first has the mirrors that may contribute ask their upstreams; no upstream learns a private name. Raise
    ``InvalidName``, ``UnknownIndex``.
    """
    reader = administration.reader
    index = reader.index(str(IndexName.parse(name)))
    if index is None:
        raise UnknownIndex(name)
    normal = normalize_project(project)
    order = resolution_order(index, reader.index)
    ruling = rule_on_mirrors(normal, order, lambda other: reader.has_project(other, normal))
    failures = _ask_mirrors(administration, order, normal) if ruling.allowed else {}
    known = {one.name: reader.project(one.name, normal) for one in order}
    knowledge = {other: found for other, found in known.items() if found is not None}
    return explain(order, normal, version, knowledge, failures)


def _ask_mirrors(administration: Administration, order: Sequence[Index], project: str) -> Mapping[str, str]:
    """Have each mirror ask its upstream; return why some cannot tell, by index."""
    failures = {}
    for mirror in (index for index in order if index.is_mirror):
        response = administration.ask(f"/{quote(mirror.name)}/+simple/{project}/", _PAGE)
        if response is None:
            if not administration.reader.has_project(mirror.name, project):
                failures[mirror.name] = "no server runs here that could ask its upstream, and nothing of the project is known yet"
        elif response.status >= 500:
            failures[mirror.name] = response.message
    return failures


def explanation_lines(index: str, explanation: Explanation) -> Iterator[str]:
    """Yield the explanation for people."""
    subject = explanation.project if explanation.version is None else f"{explanation.project} {explanation.version}"
    yield f"{index}: {_outcome(subject, explanation)}"
    yield f"Mirrors: {_ruling_text(explanation.ruling, explanation)}."
    for owner, base in explanation.missing_bases:
        yield f"Note: {owner} names the base {base}, which does not exist."
    width = max(len(fate.index.name) for fate in explanation.fates)
    for number, fate in enumerate(explanation.fates, 1):
        kind = "mirror" if fate.index.is_mirror else "stage "
        yield f"{number:2}. {kind}  {fate.index.name:{width}}  {_verdict_text(fate)}"
        yield from _file_lines(fate, everything=explanation.version is not None)


def _outcome(subject: str, explanation: Explanation) -> str:
    if explanation.answering:
        return f"{subject} comes from {' and '.join(explanation.answering)}"
    if any(fate.verdict is Verdict.FAILED for fate in explanation.fates):
        return f"nobody can tell now whether there is {subject}"
    return f"nothing answers for {subject}"


def _ruling_text(ruling: Ruling, explanation: Explanation) -> str:
    project = explanation.project
    if ruling.whitelisted is not None:
        return f"may answer, because the mirror_whitelist allows {project} at {ruling.whitelisted}"
    if not ruling.allowed:
        owner = ruling.private
        advice = f"devpi index {explanation.fates[0].index.name} mirror_whitelist+={project}"
        return f"stay silent, because {owner} has {project} and no mirror_whitelist allows it (to allow it: {advice})"
    return f"may answer, because no private index has {project}"


def _verdict_text(fate: IndexFate) -> str:
    words = fate.verdict.value
    if fate.verdict is Verdict.SILENCED and fate.silenced_by is not None:
        words += f": {fate.silenced_by} has the project"
    return words if fate.reason is None else f"{words}: {fate.reason}"


def _file_lines(fate: IndexFate, *, everything: bool) -> Iterator[str]:
    shown = fate.files if everything else fate.files[:_MOST_FILES]
    for file in shown:
        yield f"      {file.filename}{_fate_text(file)}"
    if len(shown) < len(fate.files):
        yield f"      and {len(fate.files) - len(shown)} more files; name a version to see those of it"


def _fate_text(file: FileFate) -> str:
    if file.shadowed_by is not None:
        return f"  hidden: {file.shadowed_by} has a file of this name and is nearer"
    return "" if file.withheld is None else f"  not offered: {file.withheld}"
