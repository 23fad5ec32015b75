"""A file, a project and a page to render, and how tests read the result."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import orjson

from twistpi.model.records import KnownFile, KnownProject, Link
from twistpi.rules.mirrors import file_path
from twistpi.simple.negotiate import Representation
from twistpi.simple.render import MergedPage, merge, render_project

SHA256 = "ab" * 32
OTHER = "cd" * 32
WHEEL = "demo-1.0-py3-none-any.whl"
LINK = Link(WHEEL, "https://upstream.example/f/" + WHEEL, {"sha256": SHA256}, size=7)


def known(link: Link = LINK, **fields: Any) -> KnownFile:
    return KnownFile(link, file_path(link), **fields)


def project(*files: KnownFile, index: str = "root/pypi", **fields: Any) -> KnownProject:
    return KnownProject(index, "demo", files, **fields)


def page(*files: KnownFile, **fields: Any) -> MergedPage:
    return merge("root/pypi", "demo", [project(*files, **fields)])


def as_json(merged: MergedPage, base: str = "../../", offline: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(render_project(merged, Representation.JSON_V1, base=base, offline=offline))
    return document


def as_html(merged: MergedPage, base: str = "../../", offline: bool = False) -> str:
    return render_project(merged, Representation.TEXT_HTML, base=base, offline=offline).decode()


def file_of(file: KnownFile, *, offline: bool = False) -> dict[str, Any]:
    (entry,) = as_json(page(file), offline=offline)["files"]
    assert isinstance(entry, dict)
    return entry


class Anchors(HTMLParser):
    """Collects the page as a browser would see it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.metas: dict[str | None, str | None] = {}
        self._open: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "a":
            self._open = values
            self.found.append((values, ""))
        elif tag == "meta":
            self.metas[values.get("name")] = values.get("content")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            values, text = self.found.pop()
            self.found.append((values, text + data))


def attributes_of(file: KnownFile, *, offline: bool = False) -> dict[str, str | None]:
    ((attributes, _text),) = Anchors(as_html(page(file), offline=offline)).found
    return attributes
