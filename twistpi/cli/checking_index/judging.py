"""What a judgement is, and the small questions that many of them ask."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

import attrs

from twistpi.cli.checking_index.recording import Recording
from twistpi.cli.exchanges import Exchange


class Outcome(enum.Enum):
    """How a requirement is met."""

    OK = "ok"
    FAILS = "FAILS"
    UNKNOWN = "cannot tell"


@attrs.frozen
class Finding:
    """What a judge says."""

    outcome: Outcome
    sentence: str
    """What was seen, and what should have been."""


@attrs.frozen
class Judgement:
    """A finding on a requirement."""

    number: int
    """52 for R52."""
    outcome: Outcome
    sentence: str


Judge = Callable[[Recording], Finding]


def ok(sentence: str) -> Finding:
    """It is met."""
    return Finding(Outcome.OK, sentence)


def fails(sentence: str) -> Finding:
    """It is not met."""
    return Finding(Outcome.FAILS, sentence)


def unknown(sentence: str) -> Finding:
    """It does not show."""
    return Finding(Outcome.UNKNOWN, sentence)


def settle(wrong: Iterable[str], sentence: str) -> Finding:
    """It fails for the first thing that is wrong, or is met as ``sentence`` says."""
    for first in wrong:
        return fails(first)
    return ok(sentence)


def answered(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Those with an answer that is neither an error of the server nor a plea to come back later."""
    return [exchange for exchange in exchanges if exchange.status and exchange.status < 500 and exchange.status != 429]


NO_PAGE = "There is no project whose page could be looked at; --project names one."
NO_FILE = "The page has no file that could be looked at; --project names another project."
NOT_ASKED = "It could not be asked."
