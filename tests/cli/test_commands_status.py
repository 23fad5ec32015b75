"""``twistpi status``: without a server, and how people read what a server says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from twistpi.cli.main import main
from twistpi.cli.reports import status_lines

NOW = 1795535012.0
REPLICA = {
    "role": "REPLICA", "running": True, "serial": 1040, "primary-url": "http://primary.example:4040",
    "replica-state": "following", "lag-entries": 1, "lag-seconds": 2.4, "primary-serial": 1041,
    "primary-contacted-at": NOW - 2, "last-error": "It broke.", "last-error-at": NOW - 60,
    "files": {"outstanding": 3, "failing-count": 1, "searching": True}, "epoch": 2, "log-begins-after": 500,
}  # fmt: skip


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["status", *words])


@pytest.fixture
def made(tmp_path: Path) -> str:
    path = str(tmp_path / "data")
    assert CliRunner().invoke(main, ["init", "--serverdir", path, "--no-root-pypi"]).exit_code == 0
    return path


def test_without_a_server_it_says_what_the_directory_does(made: str) -> None:
    told = run("--serverdir", made)
    assert (told.exit_code, told.output.splitlines()) == (0, ["role: primary (no server runs)", "serial: 1"])
    facts = json.loads(run("--serverdir", made, "--json").output)
    assert (facts["role"], facts["serial"], facts["running"]) == ("MASTER", 1, False)


def test_waiting_for_what_is_there_is_over_at_once_and_in_vain_is_exit_status_1(made: str) -> None:
    assert run("--serverdir", made, "--wait", "1").exit_code == 0
    told = run("--serverdir", made, "--wait", "2", "--timeout", "0.01")
    assert (told.exit_code, "Serial 2 has not arrived yet." in told.output) == (1, True)


def test_a_directory_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    told = run("--serverdir", str(tmp_path))
    assert (told.exit_code, "it is missing or empty" in told.output) == (1, True)


def test_a_replica_is_told_in_lines_for_people() -> None:
    assert list(status_lines(REPLICA, NOW)) == [
        "role: replica",
        "serial: 1040",
        "primary: http://primary.example:4040",
        "state: following",
        "lag: 1 entry is missing of the primary's 1041; not certain for 2 s",
        "last contact: 2026-11-24 15:43:30 UTC (2 s ago)",
        "files: 3 outstanding, 1 failing, and more are being looked for",
        "last error: 2026-11-24 15:42:32 UTC (60 s ago): It broke.",
        "history: the entries up to 500 are not here (yet)",
        "epoch: 2",
    ]
    assert "history: the entries up to 500 were compacted" in status_lines({**REPLICA, "log-has-summary": True}, NOW)
    unknown = {**REPLICA, "lag-entries": None, "primary-contacted-at": None, "last-error": None, "log-begins-after": 0}
    lines = list(status_lines(unknown, NOW))
    assert "lag: not known, the primary has not answered since the start" in lines
    assert "last contact: never" in lines


def test_who_follows_is_told_with_how_far_they_are() -> None:
    follower = {
        "outside-url": "http://replica.example",
        "remote-ip": "192.0.2.1",
        "serial": 7,
        "is-streaming": True,
        "last-request": NOW - 2,
    }
    primary = {"role": "MASTER", "running": True, "serial": 9, "fenced": "No more.", "polling_replicas": {"ab" * 16: follower}}
    assert list(status_lines(primary, NOW)) == [
        "role: primary",
        "serial: 9",
        "fenced: No more.",
        "follower abababab: http://replica.example, at serial 7, follows since 2026-11-24 15:43:30 UTC (2 s ago)",
    ]
    left = {**primary, "polling_replicas": {"ab" * 16: {**follower, "is-streaming": False, "outside-url": None}}}
    assert "follower abababab: 192.0.2.1, at serial 7, left, came last 2026-11-24 15:43:30 UTC (2 s ago)" in status_lines(
        left, NOW
    )


def test_of_a_cluster_its_nodes_are_told_and_whether_the_database_answers() -> None:
    node = {"outside-url": None, "serial": 9, "cache-bytes": 2048, "reported-seconds-ago": 3.0, "leads": True}
    cluster: dict[str, object] = {"serial": 9, "is-reachable": True, "lag-entries": 0, "nodes": {"ab" * 16: node}}
    facts = {"role": "MASTER", "running": True, "serial": 9, "cluster": cluster}
    assert list(status_lines(facts, NOW)) == [
        "role: primary",
        "serial: 9",
        "database: at serial 9; nothing is missing here",
        "node abababab: no outside-url, at serial 9, cache 2 KiB, cleans up for all, reported 3.0 s ago",
    ]
    behind = {**facts, "cluster": {**cluster, "lag-entries": 2, "lag-seconds": 4.0}}
    assert "database: at serial 9; this node has lacked some for 4.0 s" in status_lines(behind, NOW)
    gone = {**facts, "cluster": {**cluster, "is-reachable": False}}
    assert "database: it does not answer; what is known is served, and changes are refused" in status_lines(gone, NOW)


def test_of_a_server_that_builds_its_view_it_is_told_how_far_that_is() -> None:
    rebuilding = {"serial": 420, "last-serial": 1000, "percent": 42}
    assert list(status_lines({"role": "MASTER", "running": True, "serial": 420, "rebuilding": rebuilding}, NOW)) == [
        "role: primary",
        "serial: 420",
        "rebuilding: the view, 42 % so far; everything else is answered with 503",
    ]


@pytest.mark.parametrize(
    ("advisories", "line"),
    [
        (
            {"count": 2, "modified": "2026-11-20", "is-current": True, "is-stale": False},
            "advisories: 2, the newest of 2026-11-20",
        ),
        (
            {"count": 0, "modified": None, "is-current": False, "is-stale": True},
            "advisories: 0, not the newest, old (twistpi advisories show tells more)",
        ),
    ],
)
def test_whether_advisories_are_new_is_told(advisories: dict[str, object], line: str) -> None:
    assert line in list(status_lines({**REPLICA, "advisories": advisories}, NOW))
