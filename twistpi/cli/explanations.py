"""What ``explain`` tells: which version would be installed, which indexes a project's page comes from, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import attrs
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from twistpi.cli.administration import Administration
from twistpi.model.errors import BadRequest, UnknownIndex
from twistpi.model.names import IndexName, normalize_project, version_of_filename
from twistpi.model.records import Index, Json
from twistpi.model.text import counted
from twistpi.rules.advisories import Advise, no_advisories
from twistpi.rules.explanation import Explanation, FileFate, IndexFate, Verdict, explain
from twistpi.rules.file_policy import NEVER, Refusal, utc
from twistpi.rules.inheritance import Ruling, resolution_order, rule_on_mirrors
from twistpi.rules.install_targets import Target
from twistpi.rules.offered_files import apply_policies, policies_for, refusals_by_name
from twistpi.rules.requirements import Requirement
from twistpi.rules.version_choice import Choice, choose

_PAGE: Final = "application/vnd.pypi.simple.v1+json"


_MOST_FILES: Final = 10
"""Files of an index that are listed when no version is named."""
_NAMED: Final = 3
"""Files to install that are named."""


@attrs.frozen
class Question:
    """What is to be explained."""

    index: str
    """``user/name``."""
    requirement: Requirement
    version: str | None = None
    """The one version whose files are listed; None for all."""
    target: Target | None = None
    """Where it would be installed; None for anywhere."""
    fetch: bool = False
    """Whether a running server first has the mirrors that may contribute ask their upstreams."""

    @property
    def specifiers(self) -> SpecifierSet:
        """What the version has to meet."""
        return self.requirement.versions if self.version is None else SpecifierSet(f"=={self.version}")


def parse_question(
    index: str, project: str, version: str | None, python: str | None, platform: str | None, *, fetch: bool
) -> Question:
    """Return what a command line asks; raise ``BadRequest`` and ``InvalidName``."""
    if (python is None) != (platform is None):
        raise BadRequest("--python and --platform belong together: --python 3.12 --platform linux-x86_64")
    target = None if python is None or platform is None else Target(python, platform)
    try:
        requirement = Requirement.parse(project)
        if version is not None:
            SpecifierSet(f"=={version}")
    except InvalidSpecifier as error:
        raise BadRequest(f"{version!r} is no version") from error
    except ValueError:
        requirement = Requirement(normalize_project(project))
    if requirement.is_prefix:
        raise BadRequest(f"{project!r} names more than one project")
    return Question(index, requirement, version, target, fetch)


def explain_project(
    administration: Administration, question: Question, now: float, advise: Advise = no_advisories
) -> tuple[Explanation, Choice]:
    """Return what an index shows for a project at ``now`` (Unix seconds), and what of it would be installed.

    No upstream learns a private name, or one that an allow list does not name. Raise ``InvalidName``, ``UnknownIndex``.
    """
    reader, normal = administration.reader, question.requirement.name
    index = reader.index(str(IndexName.parse(question.index)))
    if index is None:
        raise UnknownIndex(question.index)
    order = resolution_order(index, reader.index)
    ruling = rule_on_mirrors(normal, order, lambda other: reader.has_project(other, normal))
    failures: Mapping[str, str] = {}
    if ruling.allowed and question.fetch:
        failures = _ask_mirrors(administration, order, normal)
    elif ruling.allowed:
        unknown = (one.name for one in order if one.is_mirror and not reader.has_project(one.name, normal))
        failures = dict.fromkeys(unknown, "nothing of the project is known here yet; --fetch has the server ask its upstream")
    known = {one.name: reader.project(one.name, normal) for one in order}
    knowledge = {other: found for other, found in known.items() if found is not None}
    former = [one.name for one in order if not one.is_mirror and reader.had_project(one.name, normal)]
    refusals = {
        one.name: refusals_by_name(apply_policies(found, policies_for(one, order), now, advise))
        for one in order
        if (found := knowledge.get(one.name)) is not None
    }
    explanation = explain(order, normal, question.version, knowledge, failures, former, refusals)
    return explanation, choose(explanation, knowledge, question.specifiers, question.target)


def _ask_mirrors(administration: Administration, order: Sequence[Index], project: str) -> Mapping[str, str]:
    """Let each mirror ask its upstream; return why some did not answer, by index."""
    failures = {}
    for mirror in (index for index in order if index.is_mirror):
        response = administration.ask(f"/{quote(mirror.name)}/+simple/{project}/", _PAGE)
        if response is None:
            if not administration.reader.has_project(mirror.name, project):
                failures[mirror.name] = "no server runs here that could ask its upstream, and nothing of the project is known yet"
        elif response.status >= 500:
            failures[mirror.name] = response.message
    return failures


def explanation_fields(question: Question, explanation: Explanation, choice: Choice) -> dict[str, Json]:
    """Return the explanation for programs, with every file."""
    return {
        "index": question.index,
        "project": explanation.project,
        "version": explanation.version,
        "requirement": str(question.requirement),
        "would-install": choice.version,
        "would-install-files": [{"index": owner, "filename": filename} for owner, filename in choice.files],
        "passed-over": [
            {"version": one.version, "reason": one.reason, **_refusal_fields(one.refusal)} for one in choice.passed_over
        ],
        "answering": list(explanation.answering),
        "mirrors": attrs.asdict(explanation.ruling),
        "former-owners": list(explanation.former_owners),
        "missing-bases": [{"index": owner, "base": base} for owner, base in explanation.missing_bases],
        "indexes": [_fate_fields(fate, explanation.project) for fate in explanation.fates],
    }


def _fate_fields(fate: IndexFate, project: str) -> dict[str, Json]:
    files = [
        {
            "filename": file.filename,
            "hidden-by": file.shadowed_by,
            "withheld": file.withheld,
            **_refusal_fields(file.refusal),
        }
        for file in newest_first(fate, project)
    ]
    fields = {
        "index": fate.index.name,
        "type": "mirror" if fate.index.is_mirror else "stage",
        "verdict": fate.verdict.name.lower(),
    }
    silenced_by = fate.silenced_by or fate.barred_by
    return {**fields, "silenced-by": silenced_by, "reason": fate.reason, "files": files}


def _refusal_fields(refusal: Refusal | None) -> dict[str, Json]:
    """Return the fields of a refusal: none without one."""
    if refusal is None:
        return {}
    fields: dict[str, Json] = attrs.asdict(refusal)
    return {"refusal": {**fields, "until": None if refusal.until == NEVER else utc(refusal.until)}}


def newest_first(fate: IndexFate, project: str) -> list[FileFate]:
    """Return the files of an index, those of the newest version first, and those without a version last."""

    def age(file: FileFate) -> tuple[bool, Version]:
        try:
            return True, Version(version_of_filename(file.filename, project) or "")
        except InvalidVersion:
            return False, Version("0")

    return sorted(fate.files, key=age, reverse=True)


def explanation_lines(question: Question, explanation: Explanation, choice: Choice) -> Iterator[str]:
    """Yield the explanation for people."""
    subject = explanation.project if explanation.version is None else f"{explanation.project} {explanation.version}"
    yield f"{question.index}: {_outcome(subject, explanation)}"
    yield from _choice_lines(question, choice, explanation.fates)
    yield f"Mirrors: {_ruling_text(explanation.ruling, explanation)}."
    for owner, base in explanation.missing_bases:
        yield f"Note: {owner} names the base {base}, which does not exist."
    for owner in explanation.former_owners:
        project = explanation.project
        yield f"Note: {owner} had {project} until it was removed; to keep it private: devpi index {owner} reserved+={project}"
    width = max(len(fate.index.name) for fate in explanation.fates)
    for number, fate in enumerate(explanation.fates, 1):
        kind = "mirror" if fate.index.is_mirror else "stage "
        yield f"{number:2}. {kind}  {fate.index.name:{width}}  {_verdict_text(fate, explanation.ruling)}"
        yield from _file_lines(newest_first(fate, explanation.project), everything=explanation.version is not None)


def _choice_lines(question: Question, choice: Choice, fates: Sequence[IndexFate]) -> Iterator[str]:
    """Yield what would be installed, and why nothing newer; nothing where nothing is known."""
    if not choice.passed_over and choice.version is None and not any(fate.files for fate in fates):
        return
    target = question.target
    where = "" if target is None else f" for Python {target.python} on {target.platform}"
    wanted = question.requirement if question.version is None else f"{question.requirement.name}=={question.version}"
    files = ", ".join(f"{filename} of {owner}" for owner, filename in choice.files[:_NAMED])
    more = f" and {len(choice.files) - _NAMED} more" if len(choice.files) > _NAMED else ""
    unmet = "" if choice.version or choice.passed_over else ": no version that is known here meets it"
    yield f"{wanted}{where} installs {choice.version or 'nothing'}{f' ({files}{more})' if files else ''}{unmet}."
    for one in choice.passed_over[:_MOST_FILES]:
        yield f"  not {one.version}: {one.reason}{_ending(one.refusal)}"
    if len(choice.passed_over) > _MOST_FILES:
        yield f"  and {counted(len(choice.passed_over) - _MOST_FILES, 'older version')}; --json has them all"


def _ending(refusal: Refusal | None) -> str:
    """Return until when a refusal holds and what to do, as the end of a line."""
    if refusal is None:
        return ""
    until = f"; until {utc(refusal.until)}" if refusal.until < NEVER else ""
    return f"{until}. {refusal.remedy}"


def _outcome(subject: str, explanation: Explanation) -> str:
    if explanation.answering:
        return f"{subject} comes from {' and '.join(explanation.answering)}"
    if any(fate.verdict is Verdict.FAILED for fate in explanation.fates):
        return f"it cannot be told now whether {subject} exists"
    is_here = any(fate.verdict is Verdict.EMPTY for fate in explanation.fates)
    return f"no index offers a file of {subject}" if is_here else f"no index has {subject}"


def _ruling_text(ruling: Ruling, explanation: Explanation) -> str:
    project = explanation.project
    if ruling.reserved is not None:
        return f"never answer, because the key reserved of {ruling.reserved} names {project}"
    if ruling.whitelisted is not None:
        return f"may answer, because the mirror_whitelist allows {project} at {ruling.whitelisted}"
    if not ruling.allowed:
        owner = ruling.private
        advice = f"devpi index {explanation.fates[0].index.name} mirror_whitelist+={project}"
        return f"do not answer, because {owner} has {project} and no mirror_whitelist allows it (to allow it: {advice})"
    return f"may answer, because no private index has {project}"


def _verdict_text(fate: IndexFate, ruling: Ruling) -> str:
    words = fate.verdict.value
    if fate.verdict is Verdict.SILENCED and fate.silenced_by is not None:
        words += f": {fate.silenced_by} {'has the project' if ruling.reserved is None else 'reserves the name'}"
    if fate.verdict is Verdict.BARRED:
        words += f": {fate.barred_by}"
    return words if fate.reason is None else f"{words}: {fate.reason}"


def _file_lines(files: Sequence[FileFate], *, everything: bool) -> Iterator[str]:
    shown = files if everything else files[:_MOST_FILES]
    for file in shown:
        yield f"      {file.filename}{_fate_text(file)}"
    if len(shown) < len(files):
        yield f"      and {counted(len(files) - len(shown), 'older file')}; name a version to see those of it"


def _fate_text(file: FileFate) -> str:
    if file.shadowed_by is not None:
        return f"  hidden: {file.shadowed_by} has a file of this name and is nearer"
    if file.refusal is not None:
        kind = "not offered" if file.refusal.is_enforced else "offered, but would be refused"
        return f"  {kind}: {file.refusal.rule} of {file.refusal.index}"
    return "" if file.withheld is None else f"  not offered: {file.withheld}"
