"""All judgements on a recording, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twistpi.cli.checking_index import addressing, file_answers, html_pages, json_pages, keeping
from twistpi.cli.checking_index.judging import Judge, Judgement, Outcome
from twistpi.cli.checking_index.recording import Recording

JUDGES: Mapping[int, Judge] = dict(
    sorted({**addressing.JUDGES, **html_pages.JUDGES, **json_pages.JUDGES, **file_answers.JUDGES, **keeping.JUDGES}.items())
)
"""Every requirement that can be judged from outside, and who judges it."""


def judge(recording: Recording) -> Sequence[Judgement]:
    """A judgement on each requirement, in order."""
    found = ((number, judge(recording)) for number, judge in JUDGES.items())
    return [Judgement(number, finding.outcome, finding.sentence) for number, finding in found]


def counts(judgements: Sequence[Judgement]) -> Mapping[Outcome, int]:
    """How many have each outcome."""
    return {outcome: sum(judgement.outcome is outcome for judgement in judgements) for outcome in Outcome}


def report_lines(recording: Recording, judgements: Sequence[Judgement]) -> Iterator[str]:
    """The report, for people."""
    about = f", looking at {recording.project}" if recording.project else "; no project was found to look at, --project names one"
    yield f"{recording.base}{about}"
    yield ""
    for judgement in judgements:
        yield f"R{judgement.number:<4} {judgement.outcome.value:12} {judgement.sentence}"
    number = counts(judgements)
    yield ""
    yield f"{number[Outcome.OK]} ok, {number[Outcome.FAILS]} failed, {number[Outcome.UNKNOWN]} cannot be told"


def report_fields(recording: Recording, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """The report, for programs."""
    return {
        "index": recording.base,
        "project": recording.project,
        "questions": len(recording.exchanges),
        "counts": {outcome.name.lower(): number for outcome, number in counts(judgements).items()},
        "requirements": [
            {"number": judgement.number, "outcome": judgement.outcome.name.lower(), "sentence": judgement.sentence}
            for judgement in judgements
        ],
    }
