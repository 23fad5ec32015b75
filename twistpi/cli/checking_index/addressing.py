"""Judging R1 to R17: addresses, names and content types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twistpi.cli.checking_index.judging import NO_FILE, NO_PAGE, NOT_ASKED, Finding, Judge, fails, ok, settle, unknown
from twistpi.cli.checking_index.recording import HTML, JSON, LATEST, TEXT, Ask, Recording, join, split
from twistpi.cli.exchanges import Exchange

_REDIRECTS = (301, 308)


def _pages_answer(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        asks = {Ask.LIST: "GET", Ask.LIST_HEAD: "HEAD", Ask.PAGE: "GET", Ask.PAGE_HEAD: "HEAD"}
        for ask, method in asks.items():
            for exchange in recording.get(ask):
                if exchange.status != 200:
                    yield f"{method} {exchange.question.url} is answered {exchange.told} instead of 200."

    return settle(wrong(), "The list of projects and the page answer 200 to GET and HEAD.")


def _slashless(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for exchange in recording.get(Ask.LIST_SLASHLESS, Ask.PAGE_SLASHLESS):
            url, location = exchange.question.url, exchange.header("Location")
            if exchange.status in _REDIRECTS:
                path, _, query = url.partition("?")
                if join(url, location) != f"{path}/?{query}":
                    yield f"{url} redirects to {location}, which is not the same address with a slash and its query."
            elif exchange.status != 200:
                yield f"{url} is answered {exchange.told}; right would be 301 or 308 to it with a slash, or the page itself."

    return settle(wrong(), "Addresses without their last slash lead to the same pages.")


def _other_spelling(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.SPELLED):
        url, target = exchange.question.url, join(exchange.question.url, exchange.header("Location"))
        if exchange.status // 100 == 3 and target.partition("?")[0].rstrip("/") + "/" == recording.page_url:
            return ok(f"Another spelling of {recording.project} redirects to its page.")
        if exchange.status == 200:
            return fails(f"{url} is a page of its own; a redirect to {recording.page_url} keeps caches from holding it twice.")
        return fails(f"{url} is answered {exchange.told} instead of a redirect to {recording.page_url}.")
    return unknown(f"{recording.project} can be spelled in one way only." if recording.project else NO_PAGE)


def _invalid_names(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for exchange in recording.get(Ask.INVALID, Ask.INVALID_CONTROL):
            if exchange.status not in (400, 404):
                yield f"{exchange.question.url}, which names no project that can be, is answered {exchange.told}, not 404 or 400."

    return settle(wrong(), "Names that cannot be are answered 404 or 400.")


def _encoded_path(recording: Recording) -> Finding:
    for plain, encoded in zip(recording.get(Ask.FILE_HEAD), recording.get(Ask.FILE_ENCODED), strict=False):
        if plain.status != 200:
            return unknown(f"The file itself is answered {plain.told}.")
        same = encoded.status == 200 and encoded.header("Content-Length") == plain.header("Content-Length")
        target = join(encoded.question.url, encoded.header("Location"))
        if same or (encoded.status // 100 == 3 and target == plain.question.url):
            return ok("A percent-encoded letter in a file's address makes no difference.")
        return fails(f"{encoded.question.url} is answered {encoded.told}, not as the same address without percent-encoding.")
    return unknown(NO_FILE)


def _addresses_fit(recording: Recording) -> Finding:
    here = split(recording.base)

    def wrong() -> Iterator[str]:
        for exchange in recording.exchanges.values():
            location, asked = split(exchange.header("Location")), split(exchange.question.url)
            if location.netloc and asked.netloc == here.netloc and location[:2] != here[:2]:
                yield f"{asked.path} redirects to {location.geturl()}, which is elsewhere; is the outside URL set?"
        for file in recording.files:
            link = split(str(file.get("url", "")))
            if link.netloc == here.netloc and link.scheme != here.scheme:
                yield f"The page links to {link.geturl()}, but is read over {here.scheme}; is the outside URL set?"

    return settle(wrong(), "No redirect or link leads to another scheme or host than the one that was asked.")


def _links_resolve(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.FILE_HEAD):
        if "://" in str(recording.file.get("url", "")):
            return ok("The links of the page are absolute.")
        if exchange.status in (404, 410):
            return fails(
                f"The relative link {recording.file.get('url')} leads to {exchange.question.url}, which is {exchange.told}."
            )
        return ok("The relative links of the page lead to its files.")
    return unknown(NO_FILE)


def _typed(right: str, wanted: Mapping[Ask, str]) -> Judge:
    """A judge of content types, each of which has to be exactly that; ``right`` is what is said when all are."""

    def judge(recording: Recording) -> Finding:
        def wrong() -> Iterator[str]:
            for ask, expected in wanted.items():
                for exchange in recording.get(ask):
                    if exchange.status != 200 or exchange.content_type != expected:
                        yield _mistyped(exchange, expected)

        return settle(wrong(), right) if recording.get(*wanted) else unknown(NO_PAGE)

    return judge


def _accepted(exchange: Exchange) -> str:
    accept = exchange.question.headers.get("Accept")
    return "no Accept" if accept is None else f"Accept: {accept}"


def _mistyped(exchange: Exchange, expected: str) -> str:
    if exchange.status != 200:
        return f"{_accepted(exchange)} is answered {exchange.told} instead of 200 as {expected}."
    return f"{_accepted(exchange)} is answered as {exchange.content_type or 'nothing'} instead of {expected}."


def _latest(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.AS_LATEST):
        if exchange.status == 200 and exchange.content_type == JSON:
            return ok(f"{LATEST} is answered as {JSON}.")
        if exchange.status == 406 or (exchange.status == 200 and exchange.content_type in (TEXT, HTML)):
            return ok(f"{LATEST} is not offered, and not pretended.")
        return fails(_mistyped(exchange, JSON))
    return unknown(NO_PAGE)


def _unsupported(recording: Recording) -> Finding:
    found = recording.get(Ask.AS_UNSUPPORTED, Ask.LIST_UNSUPPORTED)
    if len(found) < 2:
        return unknown(NO_PAGE)
    for exchange in found:
        if exchange.status != 406 and not (exchange.status == 200 and exchange.content_type in (TEXT, HTML)):
            return fails(
                f"A type that does not exist is answered {exchange.told} {exchange.content_type}; 406 or HTML would be right."
            )
    if len({exchange.status for exchange in found}) > 1:
        return fails("A type that does not exist is answered 406 in one place and 200 in another.")
    return ok(f"A type that does not exist is answered {found[0].status}, for the list and for the page.")


def _format(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.FORMAT):
        if exchange.status == 200 and exchange.content_type in (JSON, TEXT, HTML):
            what = "wins over Accept" if exchange.content_type == JSON else "is ignored"
            return ok(f"?format= {what}.")
        return fails(f"?format= is answered {exchange.told} {exchange.content_type}; it should win over Accept, or be ignored.")
    return unknown(NO_PAGE)


def _varies(recording: Recording) -> Finding:
    asks = (Ask.PAGE, Ask.PAGE_HTML, Ask.PAGE_HEAD, Ask.AS_ANYTHING, Ask.AS_UNSUPPORTED, Ask.MATCHING, Ask.LIST)
    if len({exchange.content_type for exchange in recording.get(Ask.PAGE, Ask.PAGE_HTML) if exchange.status == 200}) == 1:
        return ok("The page has one form, whatever Accept says.")

    def wrong() -> Iterator[str]:
        for exchange in recording.get(*asks):
            varying = [word.strip().lower() for word in exchange.header("Vary").split(",")]
            if exchange.status in (200, 304, 406) and "accept" not in varying and "*" not in varying:
                yield f"{exchange.question.url} ({exchange.told}) has no Vary: Accept, so caches mix up its forms."

    return settle(wrong(), "What depends on Accept says so with Vary.")


def _all_typed(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for exchange in recording.exchanges.values():
            if exchange.body and exchange.status != 204 and not exchange.content_type:
                yield f"{exchange.question.method} {exchange.question.url} ({exchange.told}) has a body, but no Content-Type."

    return settle(wrong(), "Every answer with a body has a Content-Type.") if recording.exchanges else unknown(NOT_ASKED)


JUDGES: dict[int, Judge] = {
    1: _pages_answer,
    2: _slashless,
    3: _other_spelling,
    4: _invalid_names,
    5: _encoded_path,
    6: _addresses_fit,
    7: _links_resolve,
    8: _typed("Each type is answered as exactly that type.", {Ask.PAGE: JSON, Ask.AS_HTML: HTML, Ask.PAGE_HTML: TEXT}),
    9: _typed(
        f"No Accept, */* and text/* are answered as {TEXT}.", {Ask.AS_NOTHING: TEXT, Ask.AS_ANYTHING: TEXT, Ask.AS_ANY_TEXT: TEXT}
    ),
    10: _typed("pip, uv and poetry get JSON.", {Ask.AS_PIP: JSON, Ask.AS_UV: JSON, Ask.AS_POETRY: JSON}),
    11: _typed(f"Old pips, which ask for {TEXT} alone, get it.", {Ask.PAGE_HTML: TEXT}),
    12: _typed("Who prefers HTML gets HTML.", {Ask.AS_RATHER_HTML: TEXT}),
    13: _latest,
    14: _unsupported,
    15: _format,
    16: _varies,
    17: _all_typed,
}
