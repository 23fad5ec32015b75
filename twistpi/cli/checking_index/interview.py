"""Asking an index: a few dozen questions, most of which want headers or a few bytes only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import attrs

from twistpi.cli.checking_index.recording import HTML, INSTALLERS, JSON, LATEST, TEXT, Ask, Recording, join, names_in, split
from twistpi.cli.exchanges import Exchange, Question
from twistpi.model.errors import InvalidProjectName, TwistpiError
from twistpi.model.names import normalize_project

Principal = Callable[[Question], Exchange]
Tell = Callable[[str, int, int], object]

_PROJECTS = ("six", "packaging", "requests", "pip")
"""What nearly every index that has more than private projects has, with pages that are not large."""
_TRIES = 4
_PAGE = 32 << 20
_GLANCE = 1 << 10
_HOPS = 5
_UNKNOWN = "twistpi-check-index-looks-for-nothing"
_UNSUPPORTED = "application/x-no-such-thing"
_OTHER_ETAG = '"another-file"'
_FAR = 1 << 50


@attrs.define(auto_exc=True, str=False)
class IndexUnreachable(TwistpiError):
    """{url} cannot be checked: {reason}."""

    url: str
    reason: str


@attrs.define(eq=False)
class Interview:
    """Asks an index; ``hold`` is all there is to it."""

    _ask: Principal
    _tell: Tell
    _password: str | None = None
    """Of the login that every question carries; None when there is none."""
    _got: dict[Ask, Exchange] = attrs.field(factory=dict)

    def hold(self, url: str, project: str = "") -> Recording:
        """Ask the index at ``url``, about ``project`` or one that it has.  Raises ``IndexUnreachable``."""
        base = self._find(url)
        head = {"method": "HEAD"}
        self._put(Ask.LIST_HEAD, base, TEXT, **head)
        self._put(Ask.LIST_SLASHLESS, base.rstrip("/") + "?via=check-index", TEXT, **head)
        self._put(Ask.LIST_UNSUPPORTED, base, _UNSUPPORTED, **head)
        self._put(Ask.INVALID, f"{base}-a/", TEXT, **head)
        self._put(Ask.INVALID_CONTROL, f"{base}a%0Ab/", TEXT, **head)
        self._put(Ask.UNKNOWN, f"{base}{_UNKNOWN}/", TEXT, most=_GLANCE)
        name = self._choose(base, project)
        self._require_an_index(base)
        if not name:
            return Recording(base, "", self._got, password=self._password or "")
        recording = Recording(base, name, self._got, password=self._password or "")
        self._look_at_page(recording)
        self._look_at_caching(recording)
        file, described = _choose_files(recording)
        recording = attrs.evolve(recording, file=file, described=described)
        if file:
            self._look_at_file(recording.address_of(file), recording)
        if described:
            self._look_at_metadata(recording.address_of(described) + ".metadata")
        self._tell("questions", len(Ask), len(Ask))
        return recording

    def _find(self, url: str) -> str:
        """The index's address with a slash at its end, where redirects from ``url`` lead."""
        base = url.rstrip("/") + "/"
        for _ in range(_HOPS):
            exchange = self._put(Ask.LIST, base, f"{JSON}, {TEXT};q=0.1")
            location = exchange.header("Location")
            if not exchange.status:
                raise IndexUnreachable(base, exchange.failure)
            if exchange.status not in (301, 302, 303, 307, 308) or not location:
                return base
            base = join(base, location).partition("?")[0].rstrip("/") + "/"
        raise IndexUnreachable(url, "it redirects for ever")

    def _choose(self, base: str, project: str) -> str:
        """A project with a page, the page included."""
        listing = self._got[Ask.LIST]
        listed = list(_projects_in(listing.body.decode("utf-8", "replace")))
        candidates = [*listed, *_PROJECTS] if listing.is_whole else [*_PROJECTS, *listed]
        for name in [normalize_project(project)] if project else candidates[: _TRIES + len(_PROJECTS)]:
            exchange = self._put(Ask.PAGE, f"{base}{name}/", JSON, most=_PAGE)
            if exchange.status not in (404, 410):
                return name
        return ""

    def _require_an_index(self, base: str) -> None:
        """Where there is neither a list nor a page, there is nothing to judge; raises ``IndexUnreachable``."""
        listing = self._got[Ask.LIST]
        if listing.status < 400 or self._got[Ask.PAGE].status == 200:
            return
        if listing.status not in (401, 403):
            advice = "is it what installers are given as index-url? If it has no list of projects, --project names one"
        else:
            advice = "it needs a login, which --user gives" if self._password is None else "does it take this login?"
        raise IndexUnreachable(base, f"it is answered {listing.told}; {advice}")

    def _look_at_page(self, recording: Recording) -> None:
        url, name = recording.page_url, recording.project
        self._put(Ask.PAGE_HTML, url, TEXT, most=_PAGE)
        self._put(Ask.PAGE_HEAD, url, JSON, method="HEAD")
        self._put(Ask.PAGE_SLASHLESS, url.rstrip("/") + "?via=check-index", TEXT, method="HEAD")
        other = name.replace("-", "__") if "-" in name else name.upper()
        if other != name:
            self._put(Ask.SPELLED, f"{recording.base}{other}/", TEXT, method="HEAD")
        accepts: Mapping[Ask, str | None] = {
            Ask.AS_HTML: HTML,
            Ask.AS_ANYTHING: "*/*",
            Ask.AS_ANY_TEXT: "text/*",
            Ask.AS_NOTHING: None,
            Ask.AS_PIP: INSTALLERS["pip"],
            Ask.AS_UV: INSTALLERS["uv"],
            Ask.AS_POETRY: INSTALLERS["poetry"],
            Ask.AS_RATHER_HTML: f"{JSON};q=0.1, {TEXT}",
            Ask.AS_LATEST: LATEST,
            Ask.AS_UNSUPPORTED: _UNSUPPORTED,
        }
        for ask, accept in accepts.items():
            self._put(ask, url, accept, method="HEAD")
        self._put(Ask.FORMAT, f"{url}?format={quote(JSON, safe='')}", TEXT, method="HEAD")
        self._put(Ask.POST, url, TEXT, method="POST", body=b"", most=_GLANCE)

    def _look_at_caching(self, recording: Recording) -> None:
        url, etag = recording.page_url, self._got[Ask.PAGE].header("ETag")
        if etag:
            bare = etag.removeprefix("W/")
            self._put(Ask.MATCHING, url, JSON, most=_GLANCE, If_None_Match=etag)
            self._put(Ask.MATCHING_WEAKLY, url, JSON, most=_GLANCE, If_None_Match=f"W/{bare}")
            self._put(Ask.MATCHING_LIST, url, JSON, most=_GLANCE, If_None_Match=f'"something", {bare}')
        self._put(Ask.GZIPPED, url, JSON, method="HEAD", Accept_Encoding="gzip")
        if self._password is not None:
            self._put(Ask.AS_NOBODY, url, JSON, method="HEAD", as_nobody=True)
            self._put(
                Ask.AS_SOMEBODY_ELSE, url, JSON, method="HEAD", as_nobody=True, Authorization="Basic bm9ib2R5Ondyb25nIHBhc3N3b3Jk"
            )
        else:
            self._got[Ask.AS_NOBODY] = self._got[Ask.PAGE]

    def _look_at_file(self, url: str, recording: Recording) -> None:
        head = self._put(Ask.FILE_HEAD, url, None, method="HEAD")
        self._put(Ask.FILE_ENCODED, _encode_otherwise(url), None, method="HEAD")
        self._put(Ask.FILE_GZIPPED, url, None, method="HEAD", Accept_Encoding="gzip, deflate")
        self._put(Ask.FILE_SIGNATURE, f"{url}.asc", None, method="HEAD")
        ranges = {
            Ask.FIRST_BYTES: "bytes=0-9",
            Ask.MIDDLE_BYTES: "bytes=10-",
            Ask.LAST_BYTES: "bytes=-10",
            Ask.MORE_BYTES: f"bytes=-{_FAR}",
            Ask.NO_BYTES: f"bytes={_FAR}-",
            Ask.SEVERAL_RANGES: "bytes=0-1,5-6",
            Ask.MALFORMED_RANGE: "bytes=9-1",
        }
        for ask, value in ranges.items():
            self._put(ask, url, None, most=_GLANCE, Range=value)
        if etag := head.header("ETag"):
            self._put(Ask.IF_RANGE, url, None, most=_GLANCE, Range="bytes=0-9", If_Range=etag)
            self._put(Ask.IF_OTHER_RANGE, url, None, most=_GLANCE, Range="bytes=0-9", If_Range=_OTHER_ETAG)

    def _look_at_metadata(self, url: str) -> None:
        self._put(Ask.METADATA, url, None, most=_PAGE)
        self._put(Ask.METADATA_HEAD, url, None, method="HEAD")

    def _put(self, ask: Ask, url: str, accept: str | None, **more: Any) -> Exchange:
        """Ask, and keep what comes; further headers have names with underscores."""
        given = {key: more.pop(key) for key in ("method", "body", "most", "as_nobody") if key in more}
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if accept is not None:
            headers["Accept"] = accept
        exchange = self._ask(Question(url, headers=headers, **given))
        self._got[ask] = exchange
        self._tell("questions", min(len(self._got), len(Ask)), len(Ask))
        return exchange


def _projects_in(listing: str) -> Iterator[str]:
    """Normalised names in the beginning of a list, each once."""
    seen = set()
    for name in names_in(listing):
        with contextlib.suppress(InvalidProjectName):
            project = normalize_project(name)
            if project not in seen:
                seen.add(project)
                yield project


def _choose_files(recording: Recording) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """A small file, and one whose metadata is offered; empty where there is none."""
    files: Sequence[Mapping[str, Any]] = list(recording.files) or list(_files_of_anchors(recording))
    by_size = sorted((file for file in files if recording.address_of(file).startswith(("http://", "https://"))), key=_size)
    described = [file for file in by_size if file.get("core-metadata") or file.get("dist-info-metadata")]
    return (described or by_size or [{}])[0], (described or [{}])[0]


def _files_of_anchors(recording: Recording) -> Iterator[Mapping[str, Any]]:
    for anchor in recording.anchors:
        address, _, fragment = anchor.href.partition("#")
        algorithm, _, digest = fragment.partition("=")
        file: dict[str, Any] = {"filename": anchor.text, "url": address, "hashes": {algorithm: digest} if digest else {}}
        stated = anchor.attributes.get("data-core-metadata") or anchor.attributes.get("data-dist-info-metadata")
        if stated:
            name, equals, value = stated.partition("=")
            file["core-metadata"] = {name: value} if equals else True
        yield file


def _size(file: Mapping[str, Any]) -> int:
    size = file.get("size")
    return size if isinstance(size, int) else _FAR


def _encode_otherwise(url: str) -> str:
    """The same address, with a letter of the file's name percent-encoded, and a plus sign."""
    parts = split(url)
    folder, _, filename = parts.path.rpartition("/")
    if not filename or not filename[0].isalnum() or not filename.isascii():
        return url
    other = f"%{ord(filename[0]):02X}{filename[1:].replace('+', '%2B')}"
    return parts._replace(path=f"{folder}/{other}").geturl()
