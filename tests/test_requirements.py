"""The table in ``tests/README.rst``: every requirement has tests that carry its name, where the table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NUMBERS = range(1, 95)
_NAME = re.compile(r"^(?:async )?def test_((?:R\d+_)+)", re.MULTILINE)
_ROW = re.compile(r"^   \* - R(\d+)\n     - (.+)\n     - (.+)$", re.MULTILINE)


def _tested() -> dict[int, set[str]]:
    """Requirement -> the files with tests named after it."""
    found: dict[int, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for name in _NAME.findall(path.read_text(encoding="utf-8")):
            for number in re.findall(r"R(\d+)_", name):
                found.setdefault(int(number), set()).add(str(path.relative_to(TESTS)))
    return found


def _table() -> dict[int, str]:
    """Requirement -> what the table says of its tests."""
    rows = _ROW.findall((TESTS / "README.rst").read_text(encoding="utf-8"))
    return {int(number): places for number, _sentence, places in rows}


def test_the_table_has_every_requirement_once_and_in_order() -> None:
    assert list(_table()) == list(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_table_names_the_files_that_test_a_requirement(number: int) -> None:
    told, found = _table()[number], _tested().get(number, set())
    if told.startswith("later: "):
        assert not found, "it is tested already: say where"
    else:
        assert found, f"no test is named test_R{number:02}_…"
        assert told == ", ".join(f"``{name}``" for name in sorted(found))
