"""The documentation uses the words of the field: those that the project has retired do not come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.live_server import ROOT
from tests.test_layers import LITERAL, RETIRED_IN_PROSE

CONFIGURATION = [path for path in ROOT.glob("etc/**/*") if path.is_file()]
PAGES = [ROOT / "README.rst", *ROOT.glob("docs/*.rst"), *CONFIGURATION, ROOT / "bench/README.rst", ROOT / "tests/README.rst"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_retired_word(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    assert [(number, word) for number, line in lines for word in RETIRED_IN_PROSE.findall(LITERAL.sub("", line))] == []
