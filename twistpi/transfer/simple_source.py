"""A simple index as a source, in HTML or JSON: ``twistpi import --simple URL --into USER/INDEX``.

A release is described by what is in its files.  Memory holds the names of all projects, and one page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import quote

import attrs

from twistpi.model.errors import BadRequest, BadUpstreamPage
from twistpi.model.names import normalize_project, version_of_filename
from twistpi.model.records import Link, ProjectPage
from twistpi.rules.upload_checks import check_identity
from twistpi.simple.names import NameListParser
from twistpi.simple.parse import parse_project_page
from twistpi.transfer.records import FILE, FileRecord, Item, Remark
from twistpi.transfer.web_reader import WebReader

_ACCEPT: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LARGEST_PAGE: Final = 256 * 1024 * 1024
_LARGEST_LIST: Final = 512 * 1024 * 1024
"""Bytes."""


@attrs.define(eq=False)
class SimpleSource:
    """Yields the releases and files of a simple index as those of a private one; see ``Source``."""

    _web: WebReader
    _url: str
    """With a slash at the end."""
    _index: str
    _only: Sequence[str] = ()
    """Names of projects, in any spelling; all that the index lists when empty."""

    def totals(self) -> Mapping[str, int]:
        """See ``Source``: nothing is known before the pages are read."""
        return {}

    def items(self) -> Iterator[Item]:
        """See ``Source``."""
        for name in self._names():
            try:
                page = self._page(normalize_project(name))
            except (BadUpstreamPage, BadRequest) as refusal:
                yield Remark(f"{self._index} {name}", str(refusal))
                continue
            for link in page.links:
                try:
                    yield self._record(page.project, link)
                except BadRequest as refusal:
                    yield Remark(f"{self._index} {page.project} {link.filename}", str(refusal), kind="files")

    def _names(self) -> Iterator[str]:
        if self._only:
            return iter(dict.fromkeys(self._only))
        body, content_type, url = self._web.read(self._url, _ACCEPT, _LARGEST_LIST)
        return iter(dict.fromkeys(name for name, _serial in NameListParser(iter((body,)), content_type, url).names()))

    def _page(self, project: str) -> ProjectPage:
        body, content_type, url = self._web.read(f"{self._url}{quote(project)}/", _ACCEPT, _LARGEST_PAGE)
        return parse_project_page(body, content_type, url, project)

    def _record(self, project: str, link: Link) -> FileRecord:
        version = version_of_filename(link.filename, project)
        if version is None:
            raise BadRequest("its name does not tell a version")
        check_identity(project, version)
        return FileRecord(
            FILE,
            self._index,
            project,
            version,
            link.filename,
            partial(self._web.open_file, link.url),
            link.hashes,
            link.size,
            link.upload_time,
            requires_python=link.requires_python,
            yanked=link.yanked,
            describes=True,
        )
