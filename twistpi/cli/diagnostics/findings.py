"""Verdicts, tables of rules, and the reports of both commands.

A table has checks for each subject. A check looks at a survey and yields verdicts, each with a sentence; the first one counts.
``{0}`` in sentences stands for what is judged.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import attrs

from twistpi.cli.diagnostics.survey import CannotTell, Exchange, Query, Survey
from twistpi.model.records import Json


class Verdict(enum.Enum):
    """How something is; the value is the word of the reports."""

    OK = "ok"
    ADVICE = "advice"
    WRONG = "WRONG"
    UNKNOWN = "cannot tell"


OK, ADVICE, WRONG, UNKNOWN = Verdict
R = TypeVar("R")
Queries = Query | Iterable[Query] | None
"""None stands for every query that was asked so far."""
Said = Iterator[tuple[Verdict, str]]
Check = Callable[[R], Said]
Rules = Mapping[str, Sequence[Check[R] | str]]
"""The checks of each subject, and the sentence for the case that nothing is wrong."""


@attrs.frozen
class Finding:
    """The verdict on one subject (``R52`` of check-index, ``disk`` of doctor), and what was seen, as a sentence."""

    subject: str
    verdict: Verdict
    sentence: str


def judge(rules: Rules[R], seen: R) -> list[Finding]:
    """Return a finding for each rule."""
    found = []
    for subject, checks in rules.items():
        try:
            said = next(chain.from_iterable(_said(check, seen) for check in checks))
        except CannotTell as reason:
            said = UNKNOWN, str(reason)
        found.append(Finding(subject, *said))
    return found


def _said(check: Check[R] | str, seen: R) -> Said:
    return iter([(OK, check.format(seen))]) if isinstance(check, str) else check(seen)


def when(condition: Callable[[R], object], sentence: str, verdict: Verdict = WRONG) -> Check[R]:
    """Return a check that has a verdict where ``condition`` is true."""
    return lambda seen: ((verdict, sentence.format(one)) for one in (seen,) if condition(one))


def each(queries: Queries, condition: Callable[[Exchange], object], sentence: str, verdict: Verdict = WRONG) -> Check[Survey]:
    """Return a check that has a verdict on answers for which ``condition`` is true.

    A single query must be possible; of several, those that are not are passed over.
    """
    return lambda survey: ((verdict, sentence.format(one)) for one in _answers(survey, queries) if condition(one))


def answered(queries: Queries, *statuses: int) -> Check[Survey]:
    """Return a check that answers have one of some statuses."""
    wanted = " or ".join(map(str, statuses))
    return each(queries, lambda one: one.status not in statuses, f"{{0.asked}} is answered {{0.outcome}} instead of {wanted}.")


def has(queries: Queries, name: str, pattern: str = ".", so: str = "", at: Sequence[int] = range(1, 600)) -> Check[Survey]:
    """Return a check that a header, in lower case, has a pattern in the answers with the statuses ``at``."""

    def check(survey: Survey) -> Said:
        for one in _answers(survey, queries):
            if one.status in at and not re.search(pattern, one[name].lower()):
                yield WRONG, f"{one.url} ({one.outcome}) has {f'{name}: {one[name]}' if one[name] else f'no {name}'}{so}."

    return check


def _answers(survey: Survey, queries: Queries) -> list[Exchange]:
    if queries is None:
        return list(survey.got.values())
    return [survey[queries]] if isinstance(queries, Query) else survey.of(queries)


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


def index_fields(base: str, project: str, questions: int, findings: Sequence[Finding]) -> dict[str, Json]:
    """Return the report of check-index for programs; ``questions`` is how many were asked."""
    names = {OK: "ok", WRONG: "fails", UNKNOWN: "unknown"}
    requirements = [{"number": int(one.subject[1:]), "outcome": names[one.verdict], "sentence": one.sentence} for one in findings]
    counts = {name: count(findings, verdict) for verdict, name in names.items()}
    return {"index": base, "project": project, "questions": questions, "counts": counts, "requirements": requirements}


def doctor_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the report of doctor for people."""
    for finding in findings:
        yield f"{finding.verdict.value:12} {finding.subject:14} {finding.sentence}"
    things, pieces = count(findings, WRONG), count(findings, ADVICE)
    wrong = "1 thing is" if things == 1 else f"{things} things are"
    yield ""
    yield f"{wrong} wrong, {pieces} {'piece' if pieces == 1 else 'pieces'} of advice"


def doctor_fields(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the report of doctor for programs."""
    return [{**attrs.asdict(finding), "verdict": finding.verdict.name.lower()} for finding in findings]
