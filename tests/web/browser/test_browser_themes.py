"""A theme replaces files of the pages, and adds others."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from tests.web.web_asking import Person
from tests.web.web_world import MakeWorld

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "themes.rst"


@pytest.fixture
def theme(tmp_path: Path) -> Path:
    """The example of the documentation."""
    text = DOCUMENTATION.read_text(encoding="utf-8")
    for name, content in re.findall(r"``((?:templates|static)/\S+)``[^`]*\n\n\.\. code-block:: .+\n\n((?:    .*\n|\n)+)", text):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(content), encoding="utf-8")
    return tmp_path


def test_the_example_of_the_documentation_changes_every_page(make_world: MakeWorld, theme: Path) -> None:
    somebody = Person(make_world(theme=str(theme)))
    for path in ("/", "/root", "/root/pypi", "/nobody"):
        page = somebody.get(path, accept=BROWSER).content.decode()
        assert "Harbour packages</title>" in page
        assert "<span>Harbour packages</span>" in page
        assert "room 7" in page
        style = re.findall(r'href="(/\+static/\w+/harbour.css)"', page)
        assert len(style) == 1
    answer = somebody.get(style[0])
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert b"light-dark(#0b6e6e" in answer.content


def test_an_error_is_told_without_a_page_where_a_theme_has_none(make_world: MakeWorld, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "error.html").write_text("{{ nothing.like.that }}", encoding="utf-8")
    answer = Person(make_world(theme=str(tmp_path))).get("/nobody", accept=BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert b"nobody" in answer.content
