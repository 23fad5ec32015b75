"""``twistpi advisories`` on a directory on which no server runs; with one, see the live tests."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import run, write
from twistpi.model.changes import AdvisoriesAccepted

SET = AdvisoriesAccepted("0" * 64, 1, 1234, "https://feed.example/all.zip", "2026-11-20T00:00:00.000000Z")


def test_what_was_accepted_is_shown_without_a_server(made: Path) -> None:
    told = run(made, "advisories", "show").output.splitlines()
    assert told == [
        "No advisories were accepted so far, so nothing is refused because of one.",
        "No server runs here; when it starts, it reads the feed of its setting advisories.",
    ]
    write(made, SET)
    told = run(made, "advisories", "show").output.splitlines()
    assert told[0].startswith("advisories: 1,234 of https://feed.example/all.zip, accepted 2")
    assert told[1] == "newest record: 2026-11-20T00:00:00.000000Z"
    assert json.loads(run(made, "advisories", "show", "--json").output)["accepted"]["count"] == 1234


def test_a_feed_is_read_by_a_server_that_runs(made: Path) -> None:
    refused = run(made, "advisories", "refresh")
    assert (refused.exit_code, "no server runs on it that could read a feed" in refused.output) == (1, True)
