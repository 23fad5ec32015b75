"""An index in memory that meets every requirement: it answers queries with exchanges."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from twistpi.cli.diagnostics.index_survey import HTML, JSON, TEXT, IndexSurvey, survey_index
from twistpi.cli.diagnostics.survey import Exchange, Query

BASE = "https://pkgs.example/simple/"
PROJECT = "six"
WHEEL, SDIST = "six-1.0-py3-none-any.whl", "six-0.9.tar.gz"
METADATA = b"Metadata-Version: 2.1\nName: six\nVersion: 1.0\n"
CONTENTS = {WHEEL: bytes(range(100)), SDIST: bytes(range(120)), f"{WHEEL}.metadata": METADATA}
LATEST = "application/vnd.pypi.simple.latest+json"
PASSWORD = "correct horse"
IMMUTABLE = "max-age=365000000, immutable, public"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def good_page() -> dict[str, Any]:
    """The page in JSON."""
    wheel = {
        "filename": WHEEL, "url": f"../../files/{WHEEL}", "hashes": {"sha256": _sha256(CONTENTS[WHEEL])}, "size": 100,
        "requires-python": ">=3.8", "upload-time": "2026-11-01T10:00:00.000000Z", "yanked": False,
        "core-metadata": {"sha256": _sha256(METADATA)}, "provenance": "https://pkgs.example/provenance",
    }  # fmt: skip
    sdist = {
        "filename": SDIST, "url": f"../../files/{SDIST}", "hashes": {"sha256": _sha256(CONTENTS[SDIST])}, "size": 120,
        "yanked": 'not "good"',
    }  # fmt: skip
    return {
        "meta": {"api-version": "1.4", "_last-serial": 3}, "name": PROJECT, "files": [wheel, sdist], "versions": ["0.9", "1.0"],
        "project-status": {"status": "active"},
    }  # fmt: skip


def good_html() -> str:
    """The same in HTML."""
    digests = {name: _sha256(CONTENTS[name]) for name in CONTENTS}
    beside = f"sha256={digests[WHEEL + '.metadata']}"
    return (
        '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.4">'
        '<meta name="pypi:project-status" content="active"></head><body>\n'
        f'<a href="../../files/{WHEEL}#sha256={digests[WHEEL]}" data-requires-python="&gt;=3.8" data-core-metadata="{beside}"'
        f' data-dist-info-metadata="{beside}">{WHEEL}</a>\n'
        f'<a href="../../files/{SDIST}#sha256={digests[SDIST]}" data-yanked="not &quot;good&quot;">{SDIST}</a>\n</body></html>\n'
    )


@attrs.define
class Answer:
    """What an index is about to answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    kept_open: bool = True


@attrs.define
class GoodIndex:
    """The index; subclasses and changed fields make it worse."""

    page: dict[str, Any] = attrs.field(factory=good_page)
    html: str = attrs.field(factory=good_html)
    is_protected: bool = False
    asked: int = 0

    def ask(self, question: Query) -> Exchange:
        """Answer a question."""
        self.asked += 1
        answer = self.spoil(question, self.answer(question))
        body = b"" if question.method == "HEAD" else answer.body
        part, headers = body[: question.most], tuple(answer.headers.items())
        return Exchange(answer.status, "Reason", headers, part, part == body, answer.kept_open, query=question)

    def spoil(self, question: Query, answer: Answer) -> Answer:
        """The place where tests make something wrong."""
        return answer

    def survey(self, project: str = "") -> IndexSurvey:
        """Ask it everything."""
        password = PASSWORD if self.is_protected else None
        return survey_index(self.ask, BASE, project, password)

    def answer(self, question: Query) -> Answer:
        """The right answer."""
        parts = urlsplit(question.url)
        path, query = unquote(parts.path), f"?{parts.query}" if parts.query else ""
        headers = {key.lower(): value for key, value in question.headers}
        if self.is_protected and ("authorization" in headers):
            return Answer(401, {"Date": "now", "WWW-Authenticate": 'Basic realm="pypi"', "Content-Type": "text/plain"}, b"who?")
        if path.startswith("/files/"):
            return self._file(path.removeprefix("/files/"), headers)
        if not path.endswith("/"):
            return self._redirect(f"{path}/{query}")
        if path == "/simple/":
            return self._negotiated(
                headers, b'{"meta":{"api-version":"1.4"},"projects":[{"name":"six"}]}', "<a href='six/'>six</a>"
            )
        name = path.removeprefix("/simple/").rstrip("/")
        if name.lower() == PROJECT and name != PROJECT:
            return self._redirect(f"/simple/{PROJECT}/{query}")
        if name != PROJECT:
            return Answer(404, {"Date": "now", "Content-Type": "text/plain", "Cache-Control": "no-cache"}, b"no such project")
        if question.method == "POST":
            return Answer(405, {"Date": "now", "Content-Type": "text/plain", "Allow": "GET, HEAD"}, b"only for reading")
        return self._negotiated(headers, json.dumps(self.page).encode(), self.html)

    def _redirect(self, location: str) -> Answer:
        return Answer(301, {"Date": "now", "Location": location})

    def _negotiated(self, headers: dict[str, str], as_json: bytes, as_html: str) -> Answer:
        accept = headers.get("accept") or "*/*"
        basics = {"Date": "now", "Vary": "Accept", "Cache-Control": "private, no-cache" if self.is_protected else "no-cache"}
        if accept.startswith((f"{JSON};q=0.1", "*/*", "text/")):
            kind, body = TEXT, as_html.encode()
        elif accept.startswith((JSON, LATEST)):
            kind, body = JSON, as_json
        elif accept.startswith(HTML):
            kind, body = HTML, as_html.encode()
        else:
            return Answer(406, {**basics, "Content-Type": "text/plain"}, b"none of these")
        etag = f'"{_sha256(kind.encode() + body)[:16]}"'
        if etag in headers.get("if-none-match", ""):
            return Answer(304, {**basics, "ETag": etag})
        if headers.get("accept-encoding") == "gzip":
            packed = {**basics, "Content-Type": kind, "Content-Encoding": "gzip", "ETag": f'{etag[:-1]}-gzip"'}
            return Answer(200, packed, gzip.compress(body))
        return Answer(200, {**basics, "Content-Type": kind, "ETag": etag}, body)

    def _file(self, name: str, headers: dict[str, str]) -> Answer:
        if name not in CONTENTS:
            return Answer(404, {"Date": "now", "Content-Type": "text/plain"}, b"no such file")
        content, etag = CONTENTS[name], f'"{_sha256(CONTENTS[name])[:16]}"'
        basics = {
            "Date": "now", "Content-Type": "application/octet-stream", "ETag": etag, "Cache-Control": IMMUTABLE,
            "Accept-Ranges": "bytes", "Content-Length": str(len(content)),
        }  # fmt: skip
        span = _span(headers.get("range", ""), len(content))
        if span is None or headers.get("if-range", etag) != etag:
            return Answer(200, basics, content)
        if span.start >= len(content):
            return Answer(416, {**basics, "Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
        part = content[span.start : span.stop]
        stated = f"bytes {span.start}-{span.stop - 1}/{len(content)}"
        return Answer(206, {**basics, "Content-Range": stated, "Content-Length": str(len(part))}, part)


def _span(header: str, length: int) -> range | None:
    """The one range that a header asks for; None when it asks for something else."""
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if not dash or "," in header or (first and last and int(last) < int(first)):
        return None
    if not first:
        return range(max(0, length - int(last)), length)
    return range(int(first), min(int(last) + 1, length) if last else length)
