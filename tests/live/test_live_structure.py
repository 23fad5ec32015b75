"""How many files of twistpi a project page passes through, measured in a running server."""

from __future__ import annotations

from pathlib import Path

from bench.builds import THIS
from bench.entered_files import entered_files

MOST_COLD = 63  # of which some are work in the background, which each page may meet on a busy machine
MOST_HOT = 5


def test_a_project_page_passes_through_few_files(tmp_path: Path) -> None:
    cold, hot = entered_files(THIS, tmp_path)
    names = [{str(Path(file).relative_to(THIS.tree)) for file in files} for files in (cold, hot)]
    assert "twistpi/simple/render.py" in names[0] - names[1]
    assert len(names[0]) <= MOST_COLD, sorted(names[0])
    assert len(names[1]) <= MOST_HOT, sorted(names[1])
