"""A doctor's report, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from twistpi.cli.doctoring.facts import Diagnosis, Machine, Outside, Verdict
from twistpi.cli.doctoring.machine_rules import judge_machine
from twistpi.cli.doctoring.outside_rules import judge_outside

_UNASKED = Diagnosis(
    "answers", Verdict.UNKNOWN, "It was not asked anything. Name the address that users have: twistpi doctor URL"
)


def diagnose(outside: Outside | None, machine: Machine | None, now: float) -> Sequence[Diagnosis]:
    """Everything there is to say; ``now`` is this machine's Unix time in seconds."""
    here = list(judge_machine(machine, now)) if machine is not None else []
    return [*here, *(judge_outside(outside, machine) if outside is not None else (_UNASKED,))]


def is_wrong(diagnoses: Sequence[Diagnosis]) -> bool:
    """Whether anything has to be changed."""
    return any(diagnosis.verdict is Verdict.WRONG for diagnosis in diagnoses)


def diagnosis_lines(diagnoses: Sequence[Diagnosis]) -> Iterator[str]:
    """The report, for people."""
    for diagnosis in diagnoses:
        yield f"{diagnosis.verdict.value:12} {diagnosis.subject:12} {diagnosis.sentence}"
    number = {verdict: sum(diagnosis.verdict is verdict for diagnosis in diagnoses) for verdict in Verdict}
    yield ""
    things = "1 thing is" if number[Verdict.WRONG] == 1 else f"{number[Verdict.WRONG]} things are"
    pieces = "1 piece" if number[Verdict.ADVICE] == 1 else f"{number[Verdict.ADVICE]} pieces"
    yield f"{things} wrong, {pieces} of advice"


def diagnosis_fields(diagnoses: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    """The report, for programs."""
    return [{**attrs.asdict(diagnosis), "verdict": diagnosis.verdict.name.lower()} for diagnosis in diagnoses]
