"""Figures, what they should be, and how they are shown: as a table, as JSON and as reStructuredText."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs


@attrs.frozen
class Target:
    """What a figure should be."""

    kind: Literal["at least", "at most", "below", "exactly"]
    limit: float
    of: Literal["ratio", "value"] = "ratio"
    """Whether the limit is for the measured value or for its ratio to the reference."""

    def met(self, figure: Figure) -> bool:
        """Whether ``figure`` is what it should be; a ratio that is not known is not."""
        number = figure.value if self.of == "value" else figure.ratio
        if number is None:
            return False
        match self.kind:
            case "at least":
                return number >= self.limit
            case "at most":
                return number <= self.limit
            case "below":
                return number < self.limit
            case "exactly":
                return number == self.limit

    def text(self, unit: str) -> str:
        """``≥ 0.85 ×`` or ``< 150 ms``."""
        sign = {"at least": "≥", "at most": "≤", "below": "<", "exactly": "="}[self.kind]
        return f"{sign} {self.limit:g} ×" if self.of == "ratio" else f"{sign} {self.limit:,g} {unit}"


@attrs.frozen
class Figure:
    """One measured number beside what it is compared with."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    """The same measured on what it is compared with, in the same unit."""
    compared_with: str = ""
    ratio: float | None = None
    """The median of the ratios of neighbouring rounds, or value / reference where there is one round."""
    target: Target | None = None
    """None for what is shown for information only."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """``ok``, ``MISS``, or nothing where there is no target."""
        return "" if self.target is None else "ok" if self.target.met(self) else "MISS"

    def cells(self) -> tuple[str, ...]:
        """The columns of a table: name, value, reference, ratio, target, verdict."""
        reference = "" if self.reference is None else f"{amount(self.reference, self.unit)} ({self.compared_with})"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        target = "" if self.target is None else self.target.text(self.unit)
        return self.name, amount(self.value, self.unit), reference, ratio, target, self.verdict

    def as_json(self) -> dict[str, Any]:
        """Everything, with the verdict."""
        return {**attrs.asdict(self), "verdict": self.verdict}


def amount(number: float, unit: str) -> str:
    """``number`` with as many digits as mean something, and its unit."""
    digits = 0 if abs(number) >= 100 or unit in ("fetches", "names") else 1 if abs(number) >= 10 else 2
    return f"{number:,.{digits}f} {unit}"


def interleaved(rounds: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Each of ``measures`` ``rounds`` times, in turn (A B A B …), so that a noisy neighbour disturbs all alike."""
    results: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for result, measure in zip(results, measures, strict=True):
            result.append(measure())
    return results


def compared(
    name: str,
    unit: str,
    values: Sequence[float],
    references: Sequence[float],
    compared_with: str,
    target: Target | None = None,
    note: str = "",
) -> Figure:
    """A figure out of interleaved rounds: medians of both sides, and the median of each round's ratio."""
    ratio = statistics.median(value / reference for value, reference in zip(values, references, strict=True))
    return Figure(name, statistics.median(values), unit, statistics.median(references), compared_with, ratio, target, note)


_HEAD = ("figure", "twistpi", "compared with", "ratio", "target", "")


def as_table(figures: Sequence[Figure]) -> str:
    """``figures`` for a terminal."""
    rows = [_HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def as_restructured_text(figures: Sequence[Figure]) -> str:
    """Return ``figures`` as a table with a line for each, and their notes below it."""
    rows = [", ".join(f'"{cell}"' for cell in figure.cells()) for figure in figures]
    head = [".. csv-table::", f'   :header: {", ".join(_HEAD[:-1])}, ""', "   :widths: 34, 16, 24, 8, 12, 6", ""]
    notes = [f"* {figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*head, *(f"   {row}" for row in rows), "", *notes]).rstrip() + "\n"
