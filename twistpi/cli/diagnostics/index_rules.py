"""The rules of check-index for addresses, content types, files, caching, logins and connections (R1 to R17, R37 to R108)."""

from __future__ import annotations

import hashlib
import re

from twistpi.cli.diagnostics.findings import (
    OK,
    UNKNOWN,
    WRONG,
    Check,
    Finding,
    Rules,
    Said,
    answered,
    each,
    fine,
    has,
    judge,
    when,
)
from twistpi.cli.diagnostics.index_pages import PAGE_RULES
from twistpi.cli.diagnostics.index_survey import HTML, JSON, LATEST, NO_FILE, NO_PAGE, TEXT, Ask, IndexRecord
from twistpi.cli.diagnostics.survey import Exchange, as_object, split

_ALGORITHMS = {name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")}
_PAGES, _HEADS = (Ask.PAGE, Ask.PAGE_HTML), (Ask.FILE_HEAD, Ask.METADATA_HEAD)
_WITHOUT_LOGIN = (Ask.AS_NOBODY, Ask.AS_SOMEBODY_ELSE)
_WITH_LOGIN = (Ask.PAGE, Ask.PAGE_HEAD, Ask.FILE_HEAD, Ask.FIRST_BYTES, Ask.METADATA)
_NEGOTIATED = (*_PAGES, Ask.PAGE_HEAD, Ask.AS_ANYTHING, Ask.AS_UNSUPPORTED, Ask.MATCHING, Ask.LIST)
_BUSY = (429, 503)
_LONG = 600
"""Seconds; a 404 that caches keep longer hides a new project."""
_MAY_LEAK = "The page needs a login, but neither private nor Vary: Authorization says so; a cache may give it to anybody."


def judge_index(index: IndexRecord) -> list[Finding]:
    """Return the verdict on each requirement, in order."""
    return judge(RULES, index)


def _typed(kind: str, *asks: Ask) -> Check[IndexRecord]:
    """Return a check that answers are 200 with exactly the content type ``kind``."""

    def check(index: IndexRecord) -> Said:
        for one in [index[ask] for ask in asks]:
            if one.status != 200 or one.content_type != kind:
                yield WRONG, f"{one.asked} is answered {one.told} as {one.content_type or 'nothing'} instead of 200 as {kind}."

    return check


def _is_html(one: Exchange) -> bool:
    return one.status == 200 and one.content_type in (TEXT, HTML)


def _is_no_range(one: Exchange) -> bool:
    return one.status != 200 and (one.status != 206 or one.content_type != "multipart/byteranges")


def _is_public(one: Exchange) -> bool:
    return not re.search("private|no-store|authorization", f"{one['Cache-Control']} {one['Vary']}".lower())


def _max_age(one: Exchange) -> int:
    found = re.search(r"max-age=(\d+)", one["Cache-Control"].lower())
    return int(found[1]) if found else 0


def _is_other_size(index: IndexRecord) -> bool:
    size = index.file.get("size")
    return isinstance(size, int) and index.length not in (size, None)


def _is_one_etag(index: IndexRecord) -> bool:
    tag = index[Ask.PAGE]["ETag"]
    return tag == index[Ask.GZIPPED]["ETag"] and not tag.startswith("W/")


def _slashless(index: IndexRecord) -> Said:
    for one in index.of((Ask.LIST_SLASHLESS, Ask.PAGE_SLASHLESS)):
        right = one.url.replace("?", "/?", 1)
        if one.status != 200 and (one.status not in (301, 308) or one.location != right):
            yield WRONG, f"{one.url} is answered {one.told} {one['Location']}; right is 200, or 301 or 308 to {right}."


def _unsupported_type(index: IndexRecord) -> Said:
    seen = index[Ask.AS_UNSUPPORTED], index[Ask.LIST_UNSUPPORTED]
    for one in seen:
        if one.status != 406 and not _is_html(one):
            yield WRONG, f"{one.asked} is answered {one.told} {one.content_type}; 406 or HTML would be right."
    if len({one.status for one in seen}) > 1:
        yield WRONG, "A type that does not exist is answered 406 in one place and 200 in another."


def _spelling(index: IndexRecord) -> Said:
    if Ask.SPELLED not in index.got:
        yield UNKNOWN, f"The name {index.project} has only one spelling." if index.project else NO_PAGE
    one = index[Ask.SPELLED]
    if one.status // 100 != 3 or one.location.partition("?")[0].rstrip("/") + "/" != index.page_url:
        yield WRONG, f"{one.url} is answered {one.told}; a redirect to {index.page_url} keeps caches from holding it twice."


def _encoded_address(index: IndexRecord) -> Said:
    plain, encoded = index[Ask.FILE_HEAD], index[Ask.FILE_ENCODED]
    is_same = encoded.status == 200 and encoded["Content-Length"] == plain["Content-Length"]
    if plain.status != 200:
        yield UNKNOWN, f"The file itself is answered {plain.told}."
    elif not is_same and not (encoded.status // 100 == 3 and encoded.location == plain.url):
        yield WRONG, f"{encoded.url} is answered {encoded.told}, not as the same address without percent-encoding."


def _outside_url(index: IndexRecord) -> Said:
    here = split(index.base)
    for one in index.got.values():
        location, url = split(one["Location"]), split(one.url)
        if location.netloc and url.netloc == here.netloc and location[:2] != here[:2]:
            yield WRONG, f"{url.path} redirects to {location.geturl()}, which leads elsewhere; is the outside URL set?"
    for file in index.files:
        link = split(str(file.get("url", "")))
        if link.netloc == here.netloc and link.scheme != here.scheme:
            yield WRONG, f"The page links to {link.geturl()}, but is read over {here.scheme}; is the outside URL set?"


def _digest(index: IndexRecord) -> Said:
    one, stated = (
        index[Ask.METADATA],
        as_object(index.described.get("core-metadata") or index.described.get("dist-info-metadata")),
    )
    known = [algorithm for algorithm in stated if algorithm in _ALGORITHMS]
    if one.status != 200:
        yield UNKNOWN, f"The metadata is answered {one.told}."
    elif not known:
        yield UNKNOWN, "The page has no digest of it that could be checked."
    elif hashlib.new(known[0], one.body, usedforsecurity=False).hexdigest() != stated[known[0]]:
        yield WRONG, f"{one.url} does not have the {known[0]} that the page promises."


def _ranges(index: IndexRecord) -> Said:
    length = index.length or 0
    if length <= 20:
        yield UNKNOWN, NO_FILE
    expected = {
        Ask.FIRST_BYTES: (206, f"bytes 0-9/{length}"),
        Ask.MIDDLE_BYTES: (206, f"bytes 10-{length - 1}/{length}"),
        Ask.LAST_BYTES: (206, f"bytes {length - 10}-{length - 1}/{length}"),
        Ask.MORE_BYTES: (206, f"bytes 0-{length - 1}/{length}"),
        Ask.NO_BYTES: (416, f"bytes */{length}"),
    }
    for one, (status, span) in ((index[ask], right) for ask, right in expected.items()):
        if one.status != status:
            yield WRONG, f"{one.asked} is answered {one.told} instead of {status}."
        elif one["Content-Range"] != span:
            yield WRONG, f"{one.asked} has the Content-Range {one['Content-Range']!r} instead of {span!r}."


def _signature(index: IndexRecord) -> Said:
    one = index[Ask.FILE_SIGNATURE]
    if one.status >= 500 or not one.status:
        yield WRONG, f"{one.url} is answered {one.told} instead of 404."
    if one.status == 200 and index.length is not None and one["Content-Length"] == str(index.length):
        yield WRONG, f"{one.url} is answered with the file itself."


def _etags(index: IndexRecord) -> Said:
    tags = [one["ETag"] for one in index.of(_PAGES) if one.status == 200]
    for tag in tags:
        if not re.fullmatch(r'(W/)?"[^"]*"', tag):
            yield WRONG, f"The page has no ETag{f' but {tag}' if tag else ''}, so installers fetch it whole every time."
    if len(tags) == 2 and tags[0] == tags[1]:
        yield WRONG, "HTML and JSON have the same ETag, so a cache can hand out one for the other."
    for one in index.of((Ask.MATCHING, Ask.MATCHING_WEAKLY, Ask.MATCHING_LIST)):
        sent, tag = one.question.headers.get("If-None-Match", ""), one["ETag"].removeprefix("W/")
        if one.status != 304:
            yield WRONG, f"If-None-Match: {sent} is answered {one.told} instead of 304."
        elif one.body or not tag or tag not in sent:
            yield WRONG, f"If-None-Match: {sent} is answered 304 with a body or without the same ETag."
    if not tags:
        yield UNKNOWN, NO_PAGE


def _needs_login(index: IndexRecord) -> Said:
    if not index.project:
        yield UNKNOWN, NO_PAGE
    elif not index.is_protected:
        yield UNKNOWN, "Everybody may read this index. These rules need a protected one, and a login: --user."


def _files_elsewhere(index: IndexRecord) -> Said:
    here, there = split(index.base), split(index.url_of(index.file))
    if not index.file:
        yield UNKNOWN, NO_FILE
    elif here[:2] != there[:2]:
        where = f"{there.scheme}://{there.netloc}"
        yield WRONG, f"Files are at {where}, where installers do not send the login for {here.netloc}."


def _shown_password(index: IndexRecord) -> Said:
    if not index.password:
        yield UNKNOWN, "There is no password that an answer could show."
    for one in index.got.values():
        if index.password.encode() in one.body + repr(one.headers).encode():
            yield WRONG, f"The answer to {one.url} shows the password."


def _closed_connections(index: IndexRecord) -> Said:
    whole = [one for one in index.got.values() if one.status and one.is_whole]
    closed = sum(not one.kept_open for one in whole)
    if closed > len(whole) // 4:
        yield WRONG, f"The server closed {closed} of {len(whole)} connections after one answer; each new one costs a round trip."


_RULES: Rules[IndexRecord] = {
    "R1": [
        answered((Ask.LIST, Ask.LIST_HEAD, Ask.PAGE, Ask.PAGE_HEAD), 200),
        fine("The list and the page answer 200 to GET and HEAD."),
    ],
    "R2": [_slashless, fine("URLs without the final slash lead to the same pages.")],
    "R3": [_spelling, fine("Another spelling of the project redirects to its page.")],
    "R4": [answered((Ask.INVALID, Ask.INVALID_CONTROL), 404, 400), fine("Impossible project names are answered 404 or 400.")],
    "R5": [_encoded_address, fine("A percent-encoded letter in a file's URL makes no difference.")],
    "R6": [_outside_url, fine("No redirect or link leads to another scheme or host.")],
    "R7": [
        each(Ask.FILE_HEAD, lambda one: one.status in (404, 410), "The page links to {0.url}, which is {0.told}."),
        fine("The links of the page lead to its files."),
    ],
    "R8": [
        _typed(JSON, Ask.PAGE),
        _typed(HTML, Ask.AS_HTML),
        _typed(TEXT, Ask.PAGE_HTML),
        fine("Each content type is answered as exactly that type."),
    ],
    "R9": [
        _typed(TEXT, Ask.AS_NOTHING, Ask.AS_ANYTHING, Ask.AS_ANY_TEXT),
        fine(f"No Accept, */* and text/* are answered as {TEXT}."),
    ],
    "R10": [_typed(JSON, Ask.AS_PIP, Ask.AS_UV, Ask.AS_POETRY), fine("pip, uv and poetry get JSON.")],
    "R11": [_typed(TEXT, Ask.PAGE_HTML), fine(f"Old versions of pip, which accept only {TEXT}, get it.")],
    "R12": [_typed(TEXT, Ask.AS_RATHER_HTML), fine("A client that prefers HTML gets HTML.")],
    "R13": [
        each(Ask.AS_LATEST, lambda one: one.status == 406 or _is_html(one), f"{LATEST} is not offered, and not pretended.", OK),
        _typed(JSON, Ask.AS_LATEST),
        fine(f"{LATEST} is answered as {JSON}."),
    ],
    "R14": [_unsupported_type, fine("A type that does not exist is answered 406, or with HTML, for the list and for the page.")],
    "R15": [answered(Ask.FORMAT, 200), fine("?format= is ignored, or wins over Accept.")],
    "R16": [
        when(lambda it: len({one.content_type for one in it.of(_PAGES) if one.status == 200}) == 1, "The page has one form.", OK),
        has(_NEGOTIATED, "Vary", r"(^|[\s,])(accept|\*)($|[\s,])", ", so caches mix up its forms", (200, 304, 406)),
        fine("Answers that depend on Accept have Vary: Accept."),
    ],
    "R17": [
        each(Ask, lambda it: it.body and it.status != 204 and not it.content_type, "{0.asked} ({0.told}) has no Content-Type."),
        fine("Every answer with a body has a Content-Type."),
    ],
    "R37": [_digest, fine("The metadata beside a wheel has the digest that the page promises.")],
    "R38": [answered(Ask.METADATA, 200), fine("The metadata that the page promises is there.")],
    "R40": [
        answered(Ask.FILE_HEAD, 200),
        answered(_HEADS, 200),
        has(_HEADS, "Content-Length", r"^\d+$"),
        has(_HEADS, "Accept-Ranges", "^bytes$", ", so pip reads no metadata out of wheels"),
        when(_is_other_size, "The page says that {0.file[url]} has {0.file[size]} bytes, HEAD says {0.length}."),
        fine("HEAD of files and metadata has length and Accept-Ranges."),
    ],
    "R41": [_ranges, fine("Ranges are answered 206, or 416 beyond the end.")],
    "R42": [
        each(Ask.SEVERAL_RANGES, _is_no_range, "{0.asked} is answered {0.told} instead of 200 with the whole file."),
        answered(Ask.MALFORMED_RANGE, 200, 416),
        fine("Several or malformed ranges get the whole file, or a refusal."),
    ],
    "R43": [
        answered(Ask.IF_RANGE, 206),
        answered(Ask.IF_OTHER_RANGE, 200),
        fine("If-Range with the file's ETag gets a part, and with another one the whole file."),
    ],
    "R45": [
        has(Ask.FILE_HEAD, "Content-Encoding", "^(identity)?$", ", which spoils digests and ranges"),
        has((Ask.FILE_GZIPPED, Ask.METADATA), "Content-Encoding", "^(identity)?$", ", which spoils digests and ranges"),
        fine("Files are sent without a Content-Encoding."),
    ],
    "R51": [_signature, fine("The URL of a signature is not answered with the file.")],
    "R52": [_etags, fine("Pages have ETags, and requests with a matching one are answered 304.")],
    "R53": [
        has((*_PAGES, Ask.LIST), "Cache-Control", so="; with Last-Modified, uv may not ask again for months", at=(200,)),
        when(lambda it: all(one.status != 200 for one in it.of((*_PAGES, Ask.LIST))), NO_PAGE, UNKNOWN),
        fine("Pages have Cache-Control."),
    ],
    "R56": [
        each(Ask.FILE_HEAD, lambda one: one.status != 200, "The file is answered {0.told}.", UNKNOWN),
        has(Ask.FILE_HEAD, "ETag"),
        has(Ask.FILE_HEAD, "Cache-Control", "immutable", ", without immutable"),
        has(Ask.FILE_HEAD, "Cache-Control", r"max-age=[1-9]\d{4,}", ", without a long max-age"),
        fine("Files have ETags and are immutable."),
    ],
    "R57": [
        _needs_login,
        each(_PAGES, _is_public, _MAY_LEAK),
        fine("The headers of a protected page keep shared caches from storing it."),
    ],
    "R58": [
        has(Ask.GZIPPED, "Content-Encoding", "^gzip$", "; a page of a thousand files is ten times as large as it need be"),
        when(_is_one_etag, "The packed page has the strong ETag of the plain one."),
        fine("Pages are sent gzipped on request, with an ETag of their own."),
    ],
    "R59": [
        answered(Ask.UNKNOWN, 404),
        each(
            Ask.UNKNOWN,
            lambda one: _max_age(one) > _LONG,
            "A 404 has {0[Cache-Control]}; a project that is created meanwhile is not found.",
        ),
        fine("A missing project is answered 404, which caches may not keep for long."),
    ],
    "R69": [
        _needs_login,
        answered(_WITHOUT_LOGIN, 401),
        has(_WITHOUT_LOGIN, "WWW-Authenticate", "^basic", ", so installers do not look for a login"),
        fine("Without a valid login the page is answered 401 with WWW-Authenticate."),
    ],
    "R70": [
        _needs_login,
        when(lambda it: not it.password, "This needs a login: --user.", UNKNOWN),
        each(
            _WITH_LOGIN,
            lambda one: one.status in (401, 403),
            "{0.asked} is answered {0.told}, though the login came with it.",
        ),
        fine("The login is accepted with the first request, for pages, files, metadata and HEAD."),
    ],
    "R71": [_needs_login, _files_elsewhere, fine("Files are on the host of the index, to which installers send the login.")],
    "R73": [_shown_password, fine("No answer shows the password.")],
    "R85": [answered(Ask.POST, 405), fine("POST to a page is answered 405.")],
    "R105": [_closed_connections, fine("Connections are kept open.")],
    "R107": [
        when(lambda it: all(one.status not in _BUSY for one in it.got.values()), "No answer was 429 or 503.", UNKNOWN),
        has(Ask, "Retry-After", at=_BUSY),
        fine("Answers 429 and 503 have Retry-After."),
    ],
    "R108": [has(Ask, "Date", at=[status for status in range(100, 500) if status != 429]), fine("Every answer has a Date.")],
}
RULES: Rules[IndexRecord] = dict(sorted({**_RULES, **PAGE_RULES}.items(), key=lambda rule: int(rule[0][1:])))
"""The numbers are those of ``tests/README.rst``."""
