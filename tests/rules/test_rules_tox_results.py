"""Results of tox, and the table of those of a release."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from twistpi.model.releases import TOXRESULT, Attachment
from twistpi.rules.tox_results import Outcome, ToxResult, parse_tox_result, result_table

WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"


def result(output: str = "hi\n", host: str = "ci", /, **environments: int) -> bytes:
    told = {
        name: {
            "python": {"version": "3.12.1 (main)"},
            "setup": [{"command": ["pip", "install"], "output": "", "retcode": 0}],
            "test": [{"command": ["pytest", "-q"], "output": output, "retcode": status}],
        }
        for name, status in environments.items()
    }
    return orjson.dumps({"reportversion": "1", "host": host, "platform": "linux", "testenvs": told})


def parsed(body: bytes) -> ToxResult:
    found = parse_tox_result(body)
    assert found is not None
    return found


def attached(number: int, tested: str) -> Attachment:
    name = f"{tested}.toxresult-{number}"
    return Attachment(TOXRESULT, name, f"+f/{name}", "0" * 64, 10, (), tested)


def test_a_result_tells_where_and_how_a_file_was_tested() -> None:
    found = parsed(result(py312=0, lint=1))
    assert (found.host, found.platform, found.passed) == ("ci", "linux", False)
    assert [(one.name, one.python, one.passed) for one in found.environments] == [
        ("py312", "3.12.1", True),
        ("lint", "3.12.1", False),
    ]
    (command,) = found.environments[1].test
    assert (command.command, command.output, command.exit_status, command.passed) == ("pytest -q", "hi\n", "1", False)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"testenvs": 1}', b"\xff", b"9" * 5_000_000])
def test_what_is_no_result_is_none(body: bytes) -> None:
    assert parse_tox_result(body) is None


@pytest.mark.parametrize("environment", [None, 1, [], {}, {"test": 1}, {"test": [None, 1, {"retcode": None}]}, {"python": []}])
def test_what_an_environment_lacks_counts_as_failed(environment: Any) -> None:
    (found,) = parsed(orjson.dumps({"host": 1, "testenvs": {"<b>py": environment}})).environments
    assert (found.name, found.passed) == ("<b>py", False)


def test_of_long_outputs_the_ends_are_kept() -> None:
    found = parsed(result("x" * 30_000 + "end", **{f"py{number}": 0 for number in range(20)}))
    outputs = [one.test[0] for one in found.environments]
    assert outputs[0].output.endswith("end")
    assert outputs[0].is_cut
    assert sum(len(command.output) for command in outputs) == 150_000


def test_the_table_has_the_newest_outcome_of_each_file_in_each_environment() -> None:
    results = [
        (attached(0, WHEEL), parsed(result(py312=1, py313=0))),
        (attached(1, WHEEL), parsed(result(py312=0))),
        (attached(2, SDIST), parsed(result("", "home", py312=1))),
    ]
    table = result_table(results, [SDIST, WHEEL, "demo-1.0.zip"])
    assert table.files == (SDIST, WHEEL)
    assert dict(table.rows) == {
        "py312, linux, ci": (None, Outcome(True, results[1][0])),
        "py313, linux, ci": (None, Outcome(True, results[0][0])),
        "py312, linux, home": (Outcome(False, results[2][0]), None),
    }


def test_an_unreadable_result_is_in_the_table() -> None:
    table = result_table([(attached(0, WHEEL), None)], [WHEEL])
    assert table.rows == (("unreadable result", (Outcome(False, attached(0, WHEEL)),)),)
