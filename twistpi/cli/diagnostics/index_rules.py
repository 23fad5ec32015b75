"""The rules of check-index for addresses, content types, files, caching, logins and connections (R1 to R17, R37 to R108)."""

from __future__ import annotations

import hashlib
import re

from twistpi.cli.diagnostics import index_survey as ask
from twistpi.cli.diagnostics.findings import OK, UNKNOWN, WRONG, Check, Finding, Rules, Said, answered, each, has, judge, when
from twistpi.cli.diagnostics.index_pages import PAGE_RULES
from twistpi.cli.diagnostics.index_survey import HTML, JSON, NO_FILE, NO_PAGE, TEXT, IndexSurvey, stated_metadata
from twistpi.cli.diagnostics.survey import Exchange, Query, as_object, split

_LATEST, _UNSUPPORTED = "application/vnd.pypi.simple.latest+json", "application/x-no-such-thing"
_PAGES, _LIST_AND_PAGES = (ask.PAGE, ask.PAGE_HTML), (ask.LIST, ask.PAGE, ask.PAGE_HTML)
_PAGE_HEAD, _AS_UNSUPPORTED = ask.at_page(JSON), ask.at_page(_UNSUPPORTED)
_SLASHLESS = [Query(f"{{{one}}}?via=check-index", "HEAD", {"Accept": TEXT}) for one in ("base", "page")]
_SPELLED = Query("{spelled}/", "HEAD", {"Accept": TEXT})
_MISSING = ask.at_list("twistpi-check-index-looks-for-nothing/", "GET")
_MATCHING = [
    ask.at_page(JSON, "GET", {"If-None-Match": tag}) for tag in ("{etag}", "W/{opaque_tag}", '"something", {opaque_tag}')
]
_NEGOTIATED = (*_LIST_AND_PAGES, _PAGE_HEAD, ask.at_page("*/*"), _AS_UNSUPPORTED, _MATCHING[0])
_GZIPPED = ask.at_page(JSON, others={"Accept-Encoding": "gzip"})
_HEADS = (ask.FILE_HEAD, Query("{described}.metadata", "HEAD"))
_FILE_GZIPPED = ask.of_file({"Accept-Encoding": "gzip, deflate"}, "HEAD")
_FIRST_BYTES, _SEVERAL_RANGES = ask.of_file({"Range": "bytes=0-9"}), ask.of_file({"Range": "bytes=0-1,5-6"})
_WITHOUT_LOGIN = (ask.NOBODY, ask.at_page(JSON, others={"Authorization": "Basic bm9ib2R5Ondyb25nIHBhc3N3b3Jk"}))
_WITH_LOGIN = (ask.PAGE, _PAGE_HEAD, ask.FILE_HEAD, _FIRST_BYTES, ask.METADATA)
_FAR = 1 << 50
_BUSY = (429, 503)
_LONG = 600
"""Seconds; a 404 that caches keep longer hides a new project."""


def _typed(kind: str, *accepted: str) -> Check[IndexSurvey]:
    """Return a check that the page is exactly of the content type ``kind`` for each of these ``Accept``."""
    queries = [{JSON: ask.PAGE, TEXT: ask.PAGE_HTML}.get(accept) or ask.at_page(accept) for accept in accepted]

    def check(index: IndexSurvey) -> Said:
        for one in [index[query] for query in queries]:
            if one.status != 200 or one.content_type != kind:
                yield WRONG, f"{one.asked} is answered {one.outcome} as {one.content_type or 'nothing'} instead of 200 as {kind}."

    return check


def _is_html(one: Exchange) -> bool:
    return one.status == 200 and one.content_type in (TEXT, HTML)


def _max_age(one: Exchange) -> int:
    found = re.search(r"max-age=(\d+)", one["Cache-Control"].lower())
    return int(found[1]) if found else 0


def _slashless(index: IndexSurvey) -> Said:
    for one in index.of(_SLASHLESS):
        right = one.url.replace("?", "/?", 1)
        if one.status != 200 and (one.status not in (301, 308) or one.location != right):
            yield WRONG, f"{one.url} is answered {one.outcome} {one['Location']}; right is 200, or 301 or 308 to {right}."


def _unsupported_type(index: IndexSurvey) -> Said:
    seen = index[_AS_UNSUPPORTED], index[ask.at_list("", accept=_UNSUPPORTED)]
    for one in seen:
        if one.status != 406 and not _is_html(one):
            yield WRONG, f"{one.asked} is answered {one.outcome} {one.content_type}; 406 or HTML would be right."
    if len({one.status for one in seen}) > 1:
        yield WRONG, "A type that does not exist is answered 406 in one place and 200 in another."


def _spelling(index: IndexSurvey) -> Said:
    one = index[ask.PAGE] and index[_SPELLED]
    if one.status // 100 != 3 or one.location.partition("?")[0].rstrip("/") + "/" != index.page_url:
        yield WRONG, f"{one.url} is answered {one.outcome}; a redirect to {index.page_url} saves caches from storing it twice."


def _encoded_address(index: IndexSurvey) -> Said:
    plain, encoded = index[ask.FILE_HEAD], index[Query("{file_encoded}", "HEAD")]
    is_same = encoded.status == 200 and encoded["Content-Length"] == plain["Content-Length"]
    if plain.status != 200:
        yield UNKNOWN, f"The file itself is answered {plain.outcome}."
    elif not is_same and not (encoded.status // 100 == 3 and encoded.location == plain.url):
        yield WRONG, f"{encoded.url} is answered {encoded.outcome}, not as the same address without percent-encoding."


def _outside_url(index: IndexSurvey) -> Said:
    here = split(index.base)
    for one in index.got.values():
        location, url = split(one["Location"]), split(one.url)
        if location.netloc and url.netloc == here.netloc and location[:2] != here[:2]:
            yield WRONG, f"{url.path} redirects to {location.geturl()}, which leads elsewhere; is the outside URL set?"
    for link in (split(str(file.get("url", ""))) for file in index.files):
        if link.netloc == here.netloc and link.scheme != here.scheme:
            yield WRONG, f"The page links to {link.geturl()}, but is read over {here.scheme}; is the outside URL set?"


def _digest(index: IndexSurvey) -> Said:
    one, stated = index[ask.METADATA], as_object(stated_metadata(index.file))
    known = [name for name in stated if name in hashlib.algorithms_guaranteed and not name.startswith("shake")]
    if one.status != 200:
        yield UNKNOWN, f"The metadata is answered {one.outcome}."
    elif not known:
        yield UNKNOWN, "The page has no digest of it that could be checked."
    elif hashlib.new(known[0], one.body, usedforsecurity=False).hexdigest() != stated[known[0]]:
        yield WRONG, f"{one.url} does not have the {known[0]} that the page promises."


def _ranges(index: IndexSurvey) -> Said:
    length = index.length or 0
    if length <= 20:
        yield UNKNOWN, NO_FILE
    expected = {
        "0-9": (206, f"bytes 0-9/{length}"),
        "10-": (206, f"bytes 10-{length - 1}/{length}"),
        "-10": (206, f"bytes {length - 10}-{length - 1}/{length}"),
        f"-{_FAR}": (206, f"bytes 0-{length - 1}/{length}"),
        f"{_FAR}-": (416, f"bytes */{length}"),
    }
    for wanted, (status, span) in expected.items():
        one = index[ask.of_file({"Range": f"bytes={wanted}"})]
        if one.status != status:
            yield WRONG, f"{one.asked} is answered {one.outcome} instead of {status}."
        elif one["Content-Range"] != span:
            yield WRONG, f"{one.asked} has the Content-Range {one['Content-Range']!r} instead of {span!r}."


def _signature(index: IndexSurvey) -> Said:
    one = index[Query("{file}.asc", "HEAD")]
    if one.status >= 500 or not one.status:
        yield WRONG, f"{one.url} is answered {one.outcome} instead of 404."
    if one.status == 200 and index.length is not None and one["Content-Length"] == str(index.length):
        yield WRONG, f"{one.url} is answered with the file itself."


def _etags(index: IndexSurvey) -> Said:
    tags = [one["ETag"] for one in index.of(_PAGES) if one.status == 200]
    for tag in tags:
        if not re.fullmatch(r'(W/)?"[^"]*"', tag):
            yield WRONG, f"The page has no ETag{f' but {tag}' if tag else ''}, so installers fetch it whole every time."
    if len(tags) == 2 and tags[0] == tags[1]:
        yield WRONG, "HTML and JSON have the same ETag, so a cache can hand out one for the other."
    for one in index.of(_MATCHING):
        sent, tag = dict(one.query.headers)["If-None-Match"], one["ETag"].removeprefix("W/")
        if one.status != 304:
            yield WRONG, f"If-None-Match: {sent} is answered {one.outcome} instead of 304."
        elif one.body or not tag or tag not in sent:
            yield WRONG, f"If-None-Match: {sent} is answered 304 with a body or without the same ETag."
    if not tags:
        yield UNKNOWN, NO_PAGE


def _needs_login(index: IndexSurvey) -> Said:
    if index[ask.PAGE] and not index.is_protected:
        yield UNKNOWN, "Everybody may read this index. These rules need a protected one, and a login: --user."


def _files_elsewhere(index: IndexSurvey) -> Said:
    here, there = split(index.base), split(index[ask.FILE_HEAD].url)
    if here[:2] != there[:2]:
        where = f"{there.scheme}://{there.netloc}"
        yield WRONG, f"Files are at {where}, where installers do not send the login for {here.netloc}."


def _shown_password(index: IndexSurvey) -> Said:
    if not index.password:
        yield UNKNOWN, "There is no password that an answer could show."
    for one in index.got.values():
        if (index.password or "").encode() in one.body + repr(one.headers).encode():
            yield WRONG, f"The answer to {one.url} shows the password."


def _closed_connections(index: IndexSurvey) -> Said:
    whole = [one for one in index.got.values() if one.status and one.is_whole]
    closed = sum(not one.kept_open for one in whole)
    if closed > len(whole) // 4:
        yield WRONG, f"The server closed {closed} of {len(whole)} connections after one answer; each new one costs a round trip."


RULES: Rules[IndexSurvey] = {
    **PAGE_RULES,
    "R1": [answered((ask.LIST, ask.at_list(""), ask.PAGE, _PAGE_HEAD), 200), "The list and the page answer 200 to GET and HEAD."],
    "R2": [_slashless, "URLs without the final slash lead to the same pages."],
    "R3": [_spelling, "Another spelling of the project redirects to its page."],
    "R4": [answered([ask.at_list("-a/"), ask.at_list("a%0Ab/")], 404, 400), "Impossible project names are answered 404 or 400."],
    "R5": [_encoded_address, "A percent-encoded letter in a file's URL makes no difference."],
    "R7": [
        each(ask.FILE_HEAD, lambda one: one.status in (404, 410), "The page links to {0.url}, which is {0.outcome}."),
        "The links of the page lead to its files.",
    ],
    "R8": [*map(_typed, (JSON, HTML, TEXT), (JSON, HTML, TEXT)), "Each content type is answered as exactly that type."],
    "R9": [_typed(TEXT, "", "*/*", "text/*"), f"No Accept, */* and text/* are answered as {TEXT}."],
    "R10": [
        _typed(JSON, f"{JSON}, {HTML}; q=0.1, {TEXT}; q=0.01", f"{JSON}, {HTML};q=0.2, {TEXT};q=0.01", f"{JSON}, */*;q=0.1"),
        "pip, uv and poetry get JSON.",
    ],
    "R11": [_typed(TEXT, TEXT), f"Old versions of pip, which accept only {TEXT}, get it."],
    "R12": [_typed(TEXT, f"{JSON};q=0.1, {TEXT}"), "A client that prefers HTML gets HTML."],
    "R13": [
        each(ask.at_page(_LATEST), lambda it: it.status == 406 or _is_html(it), f"{_LATEST} is not offered.", OK),
        _typed(JSON, _LATEST),
        f"{_LATEST} is answered as {JSON}.",
    ],
    "R14": [_unsupported_type, "A type that does not exist is answered 406, or with HTML, for the list and for the page."],
    "R15": [
        answered(Query("{page}/?format=application%2Fvnd.pypi.simple.v1%2Bjson", "HEAD", {"Accept": TEXT}), 200),
        "?format= is ignored, or wins over Accept.",
    ],
    "R16": [
        when(lambda it: len({one.content_type for one in it.of(_PAGES) if one.status == 200}) == 1, "The page has one form.", OK),
        has(_NEGOTIATED, "Vary", r"(^|[\s,])(accept|\*)($|[\s,])", ", so caches mix up its forms", (200, 304, 406)),
        "Answers that depend on Accept have Vary: Accept.",
    ],
    "R85": [answered(ask.at_page(TEXT, "POST"), 405), "POST to a page is answered 405."],
    "R37": [_digest, "The metadata beside a wheel has the digest that the page promises."],
    "R38": [answered(ask.METADATA, 200), "The metadata that the page promises is there."],
    "R40": [
        answered(ask.FILE_HEAD, 200),
        answered(_HEADS, 200),
        has(_HEADS, "Content-Length", r"^\d+$"),
        has(_HEADS, "Accept-Ranges", "^bytes$", ", so pip reads no metadata out of wheels"),
        when(
            lambda it: isinstance(it.file.get("size"), int) and it.length not in (it.file["size"], None),
            "The page says that {0.file[url]} has {0.file[size]} bytes, HEAD says {0.length}.",
        ),
        "HEAD of files and metadata has length and Accept-Ranges.",
    ],
    "R41": [_ranges, "Ranges are answered 206, or 416 beyond the end."],
    "R42": [
        each(
            _SEVERAL_RANGES,
            lambda it: it.status != 200 and (it.status, it.content_type) != (206, "multipart/byteranges"),
            "{0.asked} is answered {0.outcome} instead of 200 with the whole file.",
        ),
        answered(ask.of_file({"Range": "bytes=9-1"}), 200, 416),
        "Several or malformed ranges get the whole file, or a refusal.",
    ],
    "R43": [
        answered(ask.of_file({"Range": "bytes=0-9", "If-Range": "{file_etag}"}), 206),
        answered(ask.of_file({"Range": "bytes=0-9", "If-Range": '"another-file"'}), 200),
        "If-Range with the file's ETag gets a part, and with another one the whole file.",
    ],
    "R45": [
        has(ask.FILE_HEAD, "Content-Encoding", "^(identity)?$", ", which spoils digests and ranges"),
        has((_FILE_GZIPPED, ask.METADATA), "Content-Encoding", "^(identity)?$", ", which spoils digests and ranges"),
        "Files are sent without a Content-Encoding.",
    ],
    "R51": [_signature, "The URL of a signature is not answered with the file."],
    "R56": [
        each(ask.FILE_HEAD, lambda one: one.status != 200, "The file is answered {0.outcome}.", UNKNOWN),
        has(ask.FILE_HEAD, "ETag"),
        has(ask.FILE_HEAD, "Cache-Control", "immutable", ", without immutable"),
        has(ask.FILE_HEAD, "Cache-Control", r"max-age=[1-9]\d{4,}", ", without a long max-age"),
        "Files have ETags and are immutable.",
    ],
    "R52": [_etags, "Pages have ETags, and requests with a matching one are answered 304."],
    "R53": [
        has(_LIST_AND_PAGES, "Cache-Control", so="; with Last-Modified, uv may not ask again for months", at=(200,)),
        when(lambda it: all(one.status != 200 for one in it.of(_LIST_AND_PAGES)), NO_PAGE, UNKNOWN),
        "Pages have Cache-Control.",
    ],
    "R58": [
        has(_GZIPPED, "Content-Encoding", "^gzip$", "; a page of a thousand files is ten times as large as it need be"),
        when(
            lambda it: it[ask.PAGE]["ETag"] == it[_GZIPPED]["ETag"] and not it[ask.PAGE]["ETag"].startswith("W/"),
            "The packed page has the strong ETag of the plain one.",
        ),
        "Pages are sent gzipped on request, with an ETag of their own.",
    ],
    "R59": [
        answered(_MISSING, 404),
        each(
            _MISSING,
            lambda one: _max_age(one) > _LONG,
            "A 404 has {0[Cache-Control]}; a project that is created meanwhile is not found.",
        ),
        "A missing project is answered 404, which caches may not keep for long.",
    ],
    "R57": [
        _needs_login,
        each(
            _PAGES,
            lambda it: not re.search("private|no-store|authorization", f"{it['Cache-Control']} {it['Vary']}".lower()),
            "The page needs a login, but neither private nor Vary: Authorization says so; a cache may give it to anybody.",
        ),
        "The headers of a protected page keep shared caches from storing it.",
    ],
    "R69": [
        _needs_login,
        answered(_WITHOUT_LOGIN, 401),
        has(_WITHOUT_LOGIN, "WWW-Authenticate", "^basic", ", so installers do not look for a login"),
        "Without a valid login the page is answered 401 with WWW-Authenticate.",
    ],
    "R70": [
        _needs_login,
        when(lambda it: not it.password, "This needs a login: --user.", UNKNOWN),
        each(
            _WITH_LOGIN, lambda it: it.status in (401, 403), "{0.asked} is answered {0.outcome}, though the login came with it."
        ),
        "The login is accepted with the first request, for pages, files, metadata and HEAD.",
    ],
    "R71": [_needs_login, _files_elsewhere, "Files are on the host of the index, to which installers send the login."],
    # The following look at all answers.
    "R6": [_outside_url, "No redirect or link leads to another scheme or host."],
    "R17": [
        each(
            None, lambda it: it.body and it.status != 204 and not it.content_type, "{0.asked} ({0.outcome}) has no Content-Type."
        ),
        "Every answer with a body has a Content-Type.",
    ],
    "R73": [_shown_password, "No answer shows the password."],
    "R105": [_closed_connections, "Connections are kept open."],
    "R107": [
        when(lambda it: all(one.status not in _BUSY for one in it.got.values()), "No answer was 429 or 503.", UNKNOWN),
        has(None, "Retry-After", at=_BUSY),
        "Answers 429 and 503 have Retry-After.",
    ],
    "R108": [has(None, "Date", at=[status for status in range(100, 500) if status != 429]), "Every answer has a Date."],
}
"""The numbers are those of ``tests/README.rst``."""


def judge_index(index: IndexSurvey) -> list[Finding]:
    """Return the verdict on each requirement, in order."""
    return sorted(judge(RULES, index), key=lambda finding: int(finding.subject[1:]))
