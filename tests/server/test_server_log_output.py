"""The server's own log: its level, its format, and nothing in it that lets anybody in."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from twisted.logger import FileLogObserver, Logger, LogPublisher, formatEventAsClassicLogText
from twisted.python.logfile import LogFile

from twistpi.server.log_output import LogOutput


def _directed(out: Any, level: str = "info", format: Any = "text") -> tuple[Logger, LogOutput]:
    publisher = LogPublisher()
    publisher.addObserver(FileLogObserver(out, formatEventAsClassicLogText))
    output = LogOutput.direct(level, format, publisher)
    return Logger("twistpi.somewhere", observer=publisher), output


def test_what_is_less_important_is_not_written() -> None:
    out = io.StringIO()
    logger, _ = _directed(out, "warn")
    logger.info("nothing much")
    logger.warn("something about {what}", what="disks")
    assert out.getvalue().endswith("[twistpi.somewhere#warn] something about disks\n")
    assert "nothing much" not in out.getvalue()


def test_in_json_every_event_is_one_line_that_says_all() -> None:
    out = io.StringIO()
    logger, _ = _directed(out, format="json")
    logger.warn("two\nlines {request}", request="abc-1")
    try:
        raise ValueError("it broke at https://me:secret@upstream.example/simple/")
    except ValueError:
        logger.failure("failed")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first["message"] == "two\nlines abc-1"
    assert (first["level"], first["system"], first["request"], first["event"]) == ("warn", "twistpi.somewhere", "abc-1", "log")
    assert first["time"].endswith("Z")
    assert "ValueError: it broke" in second["traceback"]
    assert "secret" not in out.getvalue()


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    file = LogFile("server.log", str(tmp_path))
    logger, output = _directed(file)
    logger.info("before")
    (tmp_path / "server.log").rename(tmp_path / "server.log.1")
    output.reopen()
    logger.info("after")
    assert "before" in (tmp_path / "server.log.1").read_text()
    assert "after" in (tmp_path / "server.log").read_text()
    assert "before" not in (tmp_path / "server.log").read_text()
