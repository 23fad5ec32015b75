"""How long other servers take to answer."""

from __future__ import annotations

import pytest

from twistpi.http.answer_times import AnswerTimes
from twistpi.http.urls import Origin

ONE: Origin = ("https", "upstream.example", 443)


def test_the_average_follows_the_last_answers() -> None:
    times = AnswerTimes()
    assert times.average(ONE) is None
    times.add(ONE, 2.0)
    assert times.average(ONE) == 2.0
    for _ in range(100):
        times.add(ONE, 0.1)
    assert times.average(ONE) == pytest.approx(0.1, abs=0.01)
    assert times.answers == 101
    assert times.seconds == pytest.approx(12.0)


def test_not_all_servers_are_remembered() -> None:
    times = AnswerTimes()
    times.add(ONE, 1.0)
    for port in range(1, 101):
        times.add(("http", "upstream.example", port), 1.0)
    assert times.average(ONE) is None
    assert times.average(("http", "upstream.example", 1)) == 1.0
