"""The rules of check-index, and the examiners of addresses and content types (R1 to R17)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from twistpi.cli.diagnostics.findings import OK, UNKNOWN, WRONG, Finding, Rules, Said, judge
from twistpi.cli.diagnostics.index_files import examine_caching, examine_files, examine_logins, examine_manners, examine_metadata
from twistpi.cli.diagnostics.index_pages import examine_html, examine_json, examine_list
from twistpi.cli.diagnostics.index_survey import HTML, JSON, LATEST, NO_PAGE, TEXT, Ask, IndexRecord
from twistpi.cli.diagnostics.survey import Exchange, split

RULES: Rules = {
    "R1": ("The list of projects and the page answer 200 to GET and HEAD.", ()),
    "R2": ("Addresses without their last slash lead to the same pages.", ()),
    "R3": ("Another spelling of the project redirects to its page.", ()),
    "R4": ("Names that cannot be are answered 404 or 400.", ()),
    "R5": ("A percent-encoded letter in a file's address makes no difference.", (Ask.FILE_HEAD, Ask.FILE_ENCODED)),
    "R6": ("No redirect or link leads to another scheme or host than the one that was asked.", ()),
    "R7": ("The relative links of the page lead to its files.", (Ask.FILE_HEAD,)),
    "R8": ("Each type is answered as exactly that type.", (Ask.PAGE, Ask.AS_HTML, Ask.PAGE_HTML)),
    "R9": (f"No Accept, */* and text/* are answered as {TEXT}.", (Ask.AS_NOTHING, Ask.AS_ANYTHING, Ask.AS_ANY_TEXT)),
    "R10": ("pip, uv and poetry get JSON.", (Ask.AS_PIP, Ask.AS_UV, Ask.AS_POETRY)),
    "R11": (f"Old pips, which ask for {TEXT} alone, get it.", (Ask.PAGE_HTML,)),
    "R12": ("Who prefers HTML gets HTML.", (Ask.AS_RATHER_HTML,)),
    "R13": (f"{LATEST} is answered as {JSON}.", (Ask.AS_LATEST,)),
    "R14": ("A type that does not exist is answered 406, for the list and for the page.", (Ask.AS_UNSUPPORTED,)),
    "R15": ("?format= is ignored.", (Ask.FORMAT,)),
    "R16": ("What depends on Accept says so with Vary.", ()),
    "R17": ("Every answer with a body has a Content-Type.", ()),
    "R18": ("It is HTML5, and its links have the names of their files.", ()),
    "R19": ("pypi:repository-version is a version of the API.", ()),
    "R20": ("Links carry the SHA-256 of their files where it is known.", ()),
    "R21": ("data-requires-python is escaped, and the same as in JSON.", ()),
    "R22": ("data-yanked stands at the files that are yanked.", ()),
    "R23": ("data-core-metadata and data-dist-info-metadata say the same.", ()),
    "R24": ("The page states no status, which means active.", ()),
    "R25": ("The pattern that simple programs look for links with finds them all.", ()),
    "R26": ("The page has meta, name, files and what else its version demands.", ()),
    "R27": ("Every file has filename, url, hashes and what else its version demands.", ()),
    "R28": ("versions has all of them, each once.", ()),
    "R29": ("upload-time is UTC with at most six digits of a second.", ()),
    "R30": ("yanked is a boolean or a reason.", ()),
    "R31": ("core-metadata is a boolean or an object, and there is no dist-info-metadata beside it.", ()),
    "R33": ("provenance is null or an absolute https address.", ()),
    "R34": ("The page states no status, which means active.", ()),
    "R35": ("Keys that are in no standard begin with an underscore, or there are none.", ()),
    "R36": ("The list has projects with names, as far as it was read.", ()),
    "R37": ("The metadata beside a wheel has the digest that the page promises.", (Ask.METADATA,)),
    "R38": ("The metadata that the page promises is there.", (Ask.METADATA,)),
    "R40": ("HEAD of files and metadata has length and Accept-Ranges.", (Ask.FILE_HEAD,)),
    "R41": ("Ranges are answered 206, or 416 beyond the end.", (Ask.FILE_HEAD,)),
    "R42": ("What is no single range gets the whole file, or a refusal.", (Ask.SEVERAL_RANGES,)),
    "R43": ("If-Range gives a part of the same file, and the whole of another one.", (Ask.IF_RANGE,)),
    "R45": ("Files come as they are, whatever Accept-Encoding says.", (Ask.FILE_HEAD,)),
    "R51": ("A signature beside a file is not confused with it.", (Ask.FILE_SIGNATURE,)),
    "R52": ("Pages have ETags, and 304 answers who has them.", (Ask.PAGE,)),
    "R53": ("Pages say Cache-Control.", ()),
    "R56": ("Files have ETags and are immutable.", (Ask.FILE_HEAD,)),
    "R57": ("The page that needs a login says so to caches.", ()),
    "R58": ("Pages are sent gzipped on request, with an ETag of their own.", (Ask.GZIPPED,)),
    "R59": ("A project that does not exist is a 404, which is not kept for long.", ()),
    "R69": ("Without a right login the page is 401, with a challenge.", ()),
    "R70": ("A login that comes with the first request counts, for pages, files, metadata and HEAD.", ()),
    "R71": ("Files are where the login is sent to.", ()),
    "R73": ("The password is seen nowhere.", ()),
    "R85": ("POST to a page is 405.", (Ask.POST,)),
    "R98": ("api-version is a version of the standard.", ()),
    "R105": ("Connections are kept open.", ()),
    "R107": ("429 and 503 say when to come back.", ()),
    "R108": ("Every answer has a Date.", ()),
}
"""What is said when nothing is wrong, and what must have been asked. The numbers are those of ``tests/README.rst``."""

_TYPES: Mapping[str, Mapping[Ask, str]] = {
    "R8": {Ask.PAGE: JSON, Ask.AS_HTML: HTML, Ask.PAGE_HTML: TEXT},
    "R9": {Ask.AS_NOTHING: TEXT, Ask.AS_ANYTHING: TEXT, Ask.AS_ANY_TEXT: TEXT},
    "R10": {Ask.AS_PIP: JSON, Ask.AS_UV: JSON, Ask.AS_POETRY: JSON},
    "R11": {Ask.PAGE_HTML: TEXT},
    "R12": {Ask.AS_RATHER_HTML: TEXT},
}
"""The exact content types of the answers."""


def judge_index(index: IndexRecord) -> list[Finding]:
    """Return the verdict on each requirement, in order."""
    examiners = (
        *(_addresses, _outside_url, _types, _negotiation, examine_html, examine_json, examine_list, examine_files),
        *(examine_metadata, examine_caching, examine_logins, examine_manners),
    )
    return judge(RULES, index.got, chain.from_iterable(examine(index) for examine in examiners))


def _addresses(index: IndexRecord) -> Iterator[Said]:
    for one in index.of(Ask.LIST, Ask.LIST_HEAD, Ask.PAGE, Ask.PAGE_HEAD):
        if one.status != 200:
            yield "R1", WRONG, f"{one.question.method} {one.url} is answered {one.told} instead of 200."
    for one in index.of(Ask.LIST_SLASHLESS, Ask.PAGE_SLASHLESS):
        if one.status in (301, 308) and one.location != one.url.replace("?", "/?", 1):
            where = one.header("Location")
            yield "R2", WRONG, f"{one.url} redirects to {where}, which is not the same address with a slash and its query."
        elif one.status not in (200, 301, 308):
            right = "right would be 301 or 308 to it with a slash, or the page itself"
            yield "R2", WRONG, f"{one.url} is answered {one.told}; {right}."
    for one in index.of(Ask.SPELLED):
        if one.status // 100 == 3 and one.location.partition("?")[0].rstrip("/") + "/" == index.page_url:
            yield "R3", OK, f"Another spelling of {index.project} redirects to its page."
        elif one.status == 200:
            better = f"a redirect to {index.page_url} keeps caches from holding it twice"
            yield "R3", WRONG, f"{one.url} is a page of its own; {better}."
        yield "R3", WRONG, f"{one.url} is answered {one.told} instead of a redirect to {index.page_url}."
    yield "R3", UNKNOWN, f"{index.project} can be spelled in one way only." if index.project else NO_PAGE
    for one in index.of(Ask.INVALID, Ask.INVALID_CONTROL):
        if one.status not in (400, 404):
            yield "R4", WRONG, f"{one.url}, which names no project that can be, is answered {one.told}, not 404 or 400."
    for plain, encoded in zip(index.of(Ask.FILE_HEAD), index.of(Ask.FILE_ENCODED), strict=False):
        is_same = encoded.status == 200 and encoded.header("Content-Length") == plain.header("Content-Length")
        if plain.status != 200:
            yield "R5", UNKNOWN, f"The file itself is answered {plain.told}."
        elif not is_same and not (encoded.status // 100 == 3 and encoded.location == plain.url):
            yield "R5", WRONG, f"{encoded.url} is answered {encoded.told}, not as the same address without percent-encoding."


def _outside_url(index: IndexRecord) -> Iterator[Said]:
    here = split(index.base)
    for one in index.got.values():
        location, url = split(one.header("Location")), split(one.url)
        if location.netloc and url.netloc == here.netloc and location[:2] != here[:2]:
            yield "R6", WRONG, f"{url.path} redirects to {location.geturl()}, which is elsewhere; is the outside URL set?"
    for file in index.files:
        link = split(str(file.get("url", "")))
        if link.netloc == here.netloc and link.scheme != here.scheme:
            told = f"The page links to {link.geturl()}, but is read over {here.scheme}"
            yield "R6", WRONG, f"{told}; is the outside URL set?"
    for one in index.of(Ask.FILE_HEAD):
        if "://" in str(index.file.get("url", "")):
            yield "R7", OK, "The links of the page are absolute."
        elif one.status in (404, 410):
            yield "R7", WRONG, f"The relative link {index.file.get('url')} leads to {one.url}, which is {one.told}."


def _mistyped(exchange: Exchange, expected: str) -> str:
    """Return the sentence that an answer is not 200 with the type ``expected``; an empty one when it is."""
    accept = exchange.question.headers.get("Accept")
    asked = "no Accept" if accept is None else f"Accept: {accept}"
    if exchange.status != 200:
        return f"{asked} is answered {exchange.told} instead of 200 as {expected}."
    found = exchange.content_type
    return "" if found == expected else f"{asked} is answered as {found or 'nothing'} instead of {expected}."


def _types(index: IndexRecord) -> Iterator[Said]:
    for subject, wanted in _TYPES.items():
        for ask, expected in wanted.items():
            if any(wrong := [_mistyped(one, expected) for one in index.of(ask)]):
                yield subject, WRONG, wrong[0]
    for one in index.of(Ask.AS_LATEST):
        if one.status == 406 or (one.status == 200 and one.content_type in (TEXT, HTML)):
            yield "R13", OK, f"{LATEST} is not offered, and not pretended."
        elif wrong_type := _mistyped(one, JSON):
            yield "R13", WRONG, wrong_type
    for one in index.got.values():
        if one.body and one.status != 204 and not one.content_type:
            yield "R17", WRONG, f"{one.question.method} {one.url} ({one.told}) has a body, but no Content-Type."


def _negotiation(index: IndexRecord) -> Iterator[Said]:
    unsupported = index.of(Ask.AS_UNSUPPORTED, Ask.LIST_UNSUPPORTED)
    for one in unsupported:
        if one.status != 406 and not (one.status == 200 and one.content_type in (TEXT, HTML)):
            told = f"A type that does not exist is answered {one.told} {one.content_type}"
            yield "R14", WRONG, f"{told}; 406 or HTML would be right."
    if len({one.status for one in unsupported}) > 1:
        yield "R14", WRONG, "A type that does not exist is answered 406 in one place and 200 in another."
    for one in unsupported:
        yield "R14", OK, f"A type that does not exist is answered {one.status}, for the list and for the page."
    for one in index.of(Ask.FORMAT):
        if one.status != 200 or one.content_type not in (JSON, TEXT, HTML):
            told = f"?format= is answered {one.told} {one.content_type}"
            yield "R15", WRONG, f"{told}; it should win over Accept, or be ignored."
        elif one.content_type == JSON:
            yield "R15", OK, "?format= wins over Accept."
    if len({one.content_type for one in index.of(Ask.PAGE, Ask.PAGE_HTML) if one.status == 200}) == 1:
        yield "R16", OK, "The page has one form, whatever Accept says."
    negotiated = (Ask.PAGE, Ask.PAGE_HTML, Ask.PAGE_HEAD, Ask.AS_ANYTHING, Ask.AS_UNSUPPORTED, Ask.MATCHING, Ask.LIST)
    for one in index.of(*negotiated):
        varying = {word.strip().lower() for word in one.header("Vary").split(",")}
        if one.status in (200, 304, 406) and not varying & {"accept", "*"}:
            yield "R16", WRONG, f"{one.url} ({one.told}) has no Vary: Accept, so caches mix up its forms."
