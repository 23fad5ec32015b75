"""Examiners of check-index: files and their metadata, caching, logins and manners (R37 to R108)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from twistpi.cli.diagnostics.findings import OK, UNKNOWN, WRONG, Said
from twistpi.cli.diagnostics.index_survey import NO_FILE, NO_PAGE, Ask, IndexRecord
from twistpi.cli.diagnostics.survey import as_object, split

_LONG = 600
"""Seconds; a 404 that caches keep longer hides a new project."""
_ALGORITHMS = {name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")}


def examine_metadata(index: IndexRecord) -> Iterator[Said]:
    """Look at the metadata beside a wheel."""
    stated = as_object(index.described.get("core-metadata") or index.described.get("dist-info-metadata"))
    known = [(algorithm, digest) for algorithm, digest in stated.items() if algorithm in _ALGORITHMS]
    for one in index.of(Ask.METADATA):
        if one.status != 200:
            yield "R37", UNKNOWN, f"The metadata is answered {one.told}."
            yield "R38", WRONG, f"The page promises {one.url}, which is answered {one.told}."
        elif not known:
            yield "R37", UNKNOWN, "The page has no digest of it that could be checked."
        for algorithm, digest in known[:1]:
            if hashlib.new(algorithm, one.body, usedforsecurity=False).hexdigest() != digest:
                yield "R37", WRONG, f"{one.url} does not have the {algorithm} that the page promises."


def examine_files(index: IndexRecord) -> Iterator[Said]:
    """Look at ``HEAD`` of files and metadata, and at what files are not to be."""
    size, length = index.file.get("size"), _length(index)
    for one in index.of(Ask.FILE_HEAD, Ask.METADATA_HEAD):
        if one.status != 200:
            yield "R40", WRONG, f"HEAD {one.url} is answered {one.told} instead of 200."
        elif not one.header("Content-Length").isdigit():
            yield "R40", WRONG, f"HEAD {one.url} has no Content-Length."
        elif one.header("Accept-Ranges").lower() != "bytes":
            yield "R40", WRONG, f"HEAD {one.url} does not say Accept-Ranges: bytes, so pip reads no metadata out of wheels."
    if isinstance(size, int) and length is not None and size != length:
        yield "R40", WRONG, f"The page says that {index.file.get('filename')} has {size} bytes, HEAD says {length}."
    for one in index.of(Ask.FILE_HEAD, Ask.FILE_GZIPPED, Ask.METADATA):
        encoding = one.header("Content-Encoding").lower()
        if encoding not in ("", "identity"):
            yield "R45", WRONG, f"{one.url} comes with Content-Encoding: {encoding}, which spoils digests and ranges."
    for one in index.of(Ask.FILE_SIGNATURE):
        if one.status == 200 and length is not None and one.header("Content-Length") == str(length):
            yield "R51", WRONG, f"{one.url} is answered with the file itself."
        elif one.status >= 500 or not one.status:
            yield "R51", WRONG, f"{one.url} is answered {one.told} instead of 404."
        yield "R51", OK, f"A signature beside a file is answered {one.status}, and is not confused with it."
    for one in index.of(Ask.FILE_HEAD):
        control = one.header("Cache-Control").lower()
        if one.status != 200:
            yield "R56", UNKNOWN, f"The file is answered {one.told}."
        elif not one.header("ETag"):
            yield "R56", WRONG, "The file has no ETag."
        elif "immutable" not in control or not re.search(r"max-age=[1-9]\d{4,}", control):
            yield "R56", WRONG, f"The file has Cache-Control: {control or 'nothing'}, without a long max-age or immutable."
    yield from _ranges(index, length)


def _length(index: IndexRecord) -> int | None:
    """Return the bytes of the file, as HEAD or the page says; None when neither does."""
    for one in index.of(Ask.FILE_HEAD):
        if one.status == 200 and one.header("Content-Length").isdigit():
            return int(one.header("Content-Length"))
    size = index.file.get("size")
    return size if isinstance(size, int) else None


def _ranges(index: IndexRecord, length: int | None) -> Iterator[Said]:
    """Look at the answers to ``Range`` and ``If-Range``."""
    if length is None or length <= 20:
        yield "R41", UNKNOWN, NO_FILE
        length = 0
    expected = {
        Ask.FIRST_BYTES: f"bytes 0-9/{length}",
        Ask.MIDDLE_BYTES: f"bytes 10-{length - 1}/{length}",
        Ask.LAST_BYTES: f"bytes {length - 10}-{length - 1}/{length}",
        Ask.MORE_BYTES: f"bytes 0-{length - 1}/{length}",
    }
    for ask, span in expected.items():
        for one in index.of(ask):
            what, found = f"Range: {one.question.headers.get('Range')}", one.header("Content-Range")
            if one.status != 206:
                yield "R41", WRONG, f"{what} is answered {one.told} instead of 206."
            elif found != span:
                yield "R41", WRONG, f"{what} has the Content-Range {found!r} instead of {span!r}."
    for one in index.of(Ask.NO_BYTES):
        if one.status != 416 or one.header("Content-Range") != f"bytes */{length}":
            right = f"416 with Content-Range: bytes */{length}"
            yield "R41", WRONG, f"A range beyond the end is answered {one.told} instead of {right}."
    for ask in (Ask.SEVERAL_RANGES, Ask.MALFORMED_RANGE):
        for one in index.of(ask):
            in_parts = one.status == 206 and one.content_type == "multipart/byteranges"
            # RFC 9110 lets a server reject what is no range at all, as nginx does.
            if one.status != 200 and not (in_parts if ask is Ask.SEVERAL_RANGES else one.status == 416):
                what = f"Range: {one.question.headers.get('Range')}"
                yield "R42", WRONG, f"{what} is answered {one.told} instead of the whole file."
    for one in index.of(Ask.IF_RANGE):
        if one.status != 206:
            yield "R43", WRONG, f"If-Range with the file's own ETag is answered {one.told} instead of 206."
    for one in index.of(Ask.IF_OTHER_RANGE):
        if one.status != 200:
            yield "R43", WRONG, f"If-Range with another file's ETag is answered {one.told} instead of the whole file."


def examine_caching(index: IndexRecord) -> Iterator[Said]:
    """Look at what pages tell caches, and at conditional requests."""
    pages = [one for one in index.of(Ask.PAGE, Ask.PAGE_HTML) if one.status == 200]
    tags = [one.header("ETag") for one in pages]
    for tag in tags:
        if not re.fullmatch(r'(W/)?"[^"]*"', tag):
            yield "R52", WRONG, f"The page has no ETag{f' but {tag}' if tag else ''}, so installers fetch it whole every time."
    if len(tags) == 2 and tags[0] == tags[1]:
        yield "R52", WRONG, "HTML and JSON have the same ETag, so a cache can hand out one for the other."
    for one in index.of(Ask.MATCHING, Ask.MATCHING_WEAKLY, Ask.MATCHING_LIST):
        sent, tag = one.question.headers.get("If-None-Match", ""), one.header("ETag").removeprefix("W/")
        if one.status != 304:
            yield "R52", WRONG, f"If-None-Match: {sent} is answered {one.told} instead of 304."
        elif one.body or not tag or tag not in sent:
            yield "R52", WRONG, f"If-None-Match: {sent} is answered 304 with a body or without the same ETag."
    if not pages:
        yield "R52", UNKNOWN, NO_PAGE
    stated = [one for one in (*pages, *index.of(Ask.LIST)) if one.status == 200]
    for one in stated:
        if not one.header("Cache-Control"):
            worse = " With Last-Modified and without it, uv may not ask again for months."
            yield "R53", WRONG, f"{one.url} has no Cache-Control.{worse if one.header('Last-Modified') else ''}"
    yield "R53", *((OK, f"Pages say Cache-Control: {stated[0].header('Cache-Control')}.") if stated else (UNKNOWN, NO_PAGE))
    for plain, packed in zip(index.of(Ask.PAGE), index.of(Ask.GZIPPED), strict=False):
        if packed.header("Content-Encoding").lower() != "gzip":
            told = "Accept-Encoding: gzip gives the page unpacked"
            yield "R58", WRONG, f"{told}; a page of a thousand files is ten times as large as it need be."
        elif packed.header("ETag") == plain.header("ETag") and not plain.header("ETag").startswith("W/"):
            yield "R58", WRONG, "The packed page has the strong ETag of the plain one."
    for one in index.of(Ask.UNKNOWN):
        kept = re.search(r"max-age=(\d+)", one.header("Cache-Control").lower())
        if one.status != 404:
            yield "R59", WRONG, f"A project that does not exist is answered {one.told} instead of 404."
        elif kept and int(kept[1]) > _LONG:
            yield "R59", WRONG, f"A 404 may be kept for {kept[1]} seconds; a project that comes meanwhile is not seen."


def examine_logins(index: IndexRecord) -> Iterator[Said]:
    """Look at what an index does with logins that needs one."""
    if not index.project or not index.is_protected:
        opened = "Everybody may read this index; ask one that needs a login, with --user."
        for number in (57, 69, 70, 71):
            yield f"R{number}", UNKNOWN, opened if index.project else NO_PAGE
    for one in index.of(Ask.PAGE, Ask.PAGE_HTML):
        is_private = re.search(r"private|no-store", one.header("Cache-Control").lower())
        if not is_private and "authorization" not in one.header("Vary").lower():
            told = "The page needs a login, but neither private nor Vary: Authorization says so"
            yield "R57", WRONG, f"{told}; a cache may give it to anybody."
    for one in index.of(Ask.AS_NOBODY, Ask.AS_SOMEBODY_ELSE):
        if one.status != 401:
            yield "R69", WRONG, f"Without a right login the page is answered {one.told} instead of 401."
        elif not one.header("WWW-Authenticate").lower().startswith("basic"):
            yield "R69", WRONG, "401 has no WWW-Authenticate: Basic, so installers do not look for a login."
    if not index.password:
        yield "R70", UNKNOWN, "It needs a login; --user gives one."
        yield "R73", UNKNOWN, "There is no login whose password could be seen."
    for one in index.of(Ask.PAGE, Ask.PAGE_HEAD, Ask.FILE_HEAD, Ask.FIRST_BYTES, Ask.METADATA):
        if one.status in (401, 403):
            yield "R70", WRONG, f"{one.question.method} {one.url} is answered {one.told}, though the login came with it."
    here, there = split(index.base), split(index.url_of(index.file))
    if not index.file:
        yield "R71", UNKNOWN, NO_FILE
    elif here[:2] != there[:2]:
        where = f"{there.scheme}://{there.netloc}"
        yield "R71", WRONG, f"Files are at {where}, where installers do not send the login for {here.netloc}."
    for one in index.got.values():
        if index.password.encode() in one.body + repr(one.headers).encode():
            yield "R73", WRONG, f"The answer to {one.url} shows the password."


def examine_manners(index: IndexRecord) -> Iterator[Said]:
    """Look at what all answers are to have in common."""
    for one in index.of(Ask.POST):
        if one.status != 405:
            told = f"POST to a page is answered {one.told} instead of 405"
            yield "R85", WRONG, f"{told}, so uploads to a wrong address are misunderstood."
    answered = [one for one in index.got.values() if one.status]
    whole = [one for one in answered if one.is_whole]
    closed = [one for one in whole if not one.kept_open]
    if len(closed) > len(whole) // 4:
        told = f"The server closed {len(closed)} of {len(whole)} connections after one answer"
        yield "R105", WRONG, f"{told}; each new one costs a round trip."
    if not any(one.status in (429, 503) for one in answered):
        yield "R107", UNKNOWN, "The server was not too busy for anything."
    for one in answered:
        if one.status in (429, 503) and not one.header("Retry-After"):
            yield "R107", WRONG, f"{one.url} ({one.told}) has no Retry-After."
        if one.status < 500 and one.status != 429 and not one.header("Date"):
            yield "R108", WRONG, f"{one.url} ({one.told}) has no Date."
