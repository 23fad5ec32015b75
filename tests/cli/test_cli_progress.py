"""How far long work is: a bar where somebody watches, a line now and then where nobody does."""

from __future__ import annotations

import io

import pytest

from twistpi.cli.commands.common import show_progress

WORK = [(number, 100) for number in range(1, 101)]
"""Done, and in all."""


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, seconds_each: float) -> list[str]:
    """What work says each of whose hundred steps takes so long."""
    now = 0.0
    with show_progress(stream, "bytes", lambda: now) as progress:
        for done, total in WORK:
            now += seconds_each
            progress("files", done, total)
    return stream.getvalue().splitlines()


def test_where_nobody_watches_there_is_a_line_for_each_tenth_of_what_takes_long() -> None:
    assert told(io.StringIO(), 10) == [f"files: {tenth}0 % of 100 bytes" for tenth in range(1, 11)]


def test_lines_are_seconds_apart_and_what_takes_no_time_says_nothing() -> None:
    assert told(io.StringIO(), 0.25) == [f"files: {part} % of 100 bytes" for part in (20, 40, 60, 80, 100)]
    assert told(io.StringIO(), 0.01) == []


def test_a_terminal_gets_a_bar_for_each_thing() -> None:
    stream = Terminal()
    with show_progress(stream) as progress:
        for what in ("log", "files"):
            for done, total in WORK:
                progress(what, done, total)
    log, files, rest = stream.getvalue().split("\n")
    for line, what in ((log, "log"), (files, "files")):
        assert what in line
        assert line.count("100%") == 1
    assert rest == ""


def test_what_is_said_meanwhile_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    with show_progress(stream) as progress:
        progress("files", 10, 100)
        progress.say("WRONG: something")
        assert stream.getvalue().endswith("\n"), "the bar was ended first"
        progress("files", 20, 100)
    assert capsys.readouterr().out == "WRONG: something\n"
    assert stream.getvalue().count("\n") == 2
