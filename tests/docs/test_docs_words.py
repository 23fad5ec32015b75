"""The documentation uses the words of the field: those that the project has retired do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.live_server import ROOT

CONFIGURATION = [path for path in ROOT.glob("etc/**/*") if path.is_file()]
PAGES = [ROOT / "README.rst", *ROOT.glob("docs/*.rst"), *CONFIGURATION, ROOT / "bench/README.rst", ROOT / "tests/README.rst"]
RETIRED = re.compile(
    r"\b(?:askers?|who asks|doors?|doorway|houses?|rooms? of|floors?|wish|glance|sight|trouble|spool|pouring|inflow|crew|staff"
    r"|reign|sweep|sweeper|sweeping|doctoring|believing|sidecars?|wiring|whoever)\b",
    re.IGNORECASE,
)
LITERAL = re.compile("``[^`]*``")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_retired_word(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    assert [(number, word) for number, line in lines for word in RETIRED.findall(LITERAL.sub("", line))] == []
