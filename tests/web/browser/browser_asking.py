"""People with browsers, and what a page shows."""

from __future__ import annotations

from typing import Final

from selectolax.lexbor import LexborHTMLParser

from tests.web.web_asking import Person

BROWSER: Final = "text/html,application/xhtml+xml,*/*;q=0.8"


def page(person: Person, path: str, status: int = 200) -> LexborHTMLParser:
    """What a browser makes of the page at ``path``."""
    answer = person.get(path, accept=BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.content[:500]
    assert len(answer.content) < 300_000
    return LexborHTMLParser(answer.content)


def texts(parsed: LexborHTMLParser, selector: str) -> list[str]:
    """The text of each element that ``selector`` finds, in one line."""
    return [" ".join(node.text(separator=" ").split()) for node in parsed.css(selector)]


def links(parsed: LexborHTMLParser, selector: str = "main a") -> list[str]:
    """Where the links go that ``selector`` finds."""
    return [node.attributes.get("href") or "" for node in parsed.css(selector)]
