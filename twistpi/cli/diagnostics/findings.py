"""Verdicts, how rules are applied, and the reports of both commands.

A table of rules has, for each subject, the sentence of the verdict ok and the queries without whose answers nothing can be told.
Examiners are functions that yield what there is to say about several subjects; of each subject the first thing counts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from twistpi.cli.diagnostics.survey import Exchange, Query


class Verdict(enum.Enum):
    """How something is; the value is the word of the reports."""

    OK = "ok"
    ADVICE = "advice"
    WRONG = "WRONG"
    UNKNOWN = "cannot tell"


OK, ADVICE, WRONG, UNKNOWN = Verdict
Said = tuple[str, Verdict, str]
"""A subject (``R52`` of check-index, ``disk`` of doctor), a verdict, and a sentence: what was seen, and what should have been."""
Rules = Mapping[str, tuple[str, tuple[Query, ...]]]


@attrs.frozen
class Finding:
    """The verdict on one subject."""

    subject: str
    verdict: Verdict
    sentence: str


def judge(rules: Rules, got: Mapping[Query, Exchange], said: Iterable[Said]) -> list[Finding]:
    """Return a finding for each rule, from what examiners ``said`` about the answers ``got``."""
    found: dict[str, Finding] = {}
    for subject, verdict, sentence in said:
        found.setdefault(subject, Finding(subject, verdict, sentence))
    for subject, (otherwise, needed) in rules.items():
        if missing := [query for query in needed if query not in got]:
            found[subject] = Finding(subject, Verdict.UNKNOWN, missing[0].missing)
        found.setdefault(subject, Finding(subject, Verdict.OK, otherwise))
    return [found[subject] for subject in rules]


def count(findings: Sequence[Finding], verdict: Verdict) -> int:
    """Return how many findings have a verdict."""
    return sum(finding.verdict is verdict for finding in findings)


def index_lines(base: str, project: str, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the report of check-index for people."""
    yield base + (f", looking at {project}" if project else "; no project was found to look at, --project names one")
    yield ""
    for finding in findings:
        yield f"{finding.subject:5} {'FAILS' if finding.verdict is WRONG else finding.verdict.value:12} {finding.sentence}"
    yield ""
    yield f"{count(findings, OK)} ok, {count(findings, WRONG)} failed, {count(findings, UNKNOWN)} cannot be told"


def index_fields(base: str, project: str, questions: int, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the report of check-index for programs; ``questions`` is how many were asked."""
    names = {OK: "ok", WRONG: "fails", UNKNOWN: "unknown"}
    requirements = [{"number": int(one.subject[1:]), "outcome": names[one.verdict], "sentence": one.sentence} for one in findings]
    counts = {name: count(findings, verdict) for verdict, name in names.items()}
    return {"index": base, "project": project, "questions": questions, "counts": counts, "requirements": requirements}


def doctor_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the report of doctor for people."""
    for finding in findings:
        yield f"{finding.verdict.value:12} {finding.subject:12} {finding.sentence}"
    things, pieces = count(findings, WRONG), count(findings, ADVICE)
    wrong = "1 thing is" if things == 1 else f"{things} things are"
    yield ""
    yield f"{wrong} wrong, {pieces} {'piece' if pieces == 1 else 'pieces'} of advice"


def doctor_fields(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the report of doctor for programs."""
    return [{**attrs.asdict(finding), "verdict": finding.verdict.name.lower()} for finding in findings]
