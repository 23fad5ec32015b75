"""The documentation becomes pages without a warning: every reference leads somewhere, every page is in the table of contents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.fakes.live_server import ROOT, server_environment


def test_sphinx_has_nothing_to_complain_about(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-d", str(tmp_path / "doctrees")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(tmp_path / "html")], cwd=ROOT, env=server_environment(), capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for page in (ROOT / "docs").glob("*.rst"):
        assert (tmp_path / "html" / f"{page.stem}.html").exists()
    index = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r'class="toctree-l1"', index)) >= 10


def test_the_readme_leads_to_pages_and_pictures_that_exist() -> None:
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    pictures = re.findall(r"image:: (\S+)", readme)
    assert len(pictures) == 3
    targets = [*pictures, *re.findall(r"<((?:docs|tests)/[^>]+)>`_", readme)]
    assert [target for target in targets if not (ROOT / target).exists()] == []
