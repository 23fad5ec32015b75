"""Judging R52 to R59, R69 to R73, R85 and R105 to R108: caching, logins and manners."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twistpi.cli.checking_index.judging import NO_FILE, NO_PAGE, NOT_ASKED, Finding, Judge, answered, fails, ok, settle, unknown
from twistpi.cli.checking_index.recording import Ask, Recording, split
from twistpi.cli.exchanges import Exchange

_LONG = 600
"""Seconds; a 404 that is kept for longer hides a new project."""
_OPEN = "Everybody may read this index; ask one that needs a login, with --user."


def _with_login(judge: Judge) -> Judge:
    """For what shows only at an index that not everybody may read."""

    def judge_if_closed(recording: Recording) -> Finding:
        if not recording.project:
            return unknown(NO_PAGE)
        return judge(recording) if recording.is_protected else unknown(_OPEN)

    return judge_if_closed


def _etags(recording: Recording) -> Finding:
    pages = [exchange for exchange in recording.get(Ask.PAGE, Ask.PAGE_HTML) if exchange.status == 200]
    tags = [exchange.header("ETag") for exchange in pages]

    def wrong() -> Iterator[str]:
        for tag in tags:
            if not re.fullmatch(r'"[^"]*"', tag):
                yield f"The page has no strong ETag ({tag or 'none at all'}), so installers fetch it whole every time."
        if len(tags) == 2 and tags[0] == tags[1]:
            yield "HTML and JSON have the same ETag, so a cache can hand out one for the other."
        for exchange in recording.get(Ask.MATCHING, Ask.MATCHING_WEAKLY, Ask.MATCHING_LIST):
            asked = exchange.question.headers.get("If-None-Match", "")
            if exchange.status != 304:
                yield f"If-None-Match: {asked} is answered {exchange.told} instead of 304."
            elif exchange.body or not exchange.header("ETag") or exchange.header("ETag") not in asked:
                yield f"If-None-Match: {asked} is answered 304 with a body or without the same ETag."

    return settle(wrong(), "Pages have strong ETags, and 304 answers who has them.") if pages else unknown(NO_PAGE)


def _cache_control(recording: Recording) -> Finding:
    pages = [exchange for exchange in recording.get(Ask.PAGE, Ask.PAGE_HTML, Ask.LIST) if exchange.status == 200]
    for exchange in pages:
        if not exchange.header("Cache-Control"):
            trouble = (
                " With Last-Modified and without it, uv may not ask again for months." if exchange.header("Last-Modified") else ""
            )
            return fails(f"{exchange.question.url} has no Cache-Control.{trouble}")
    return ok(f"Pages say Cache-Control: {pages[0].header('Cache-Control')}.") if pages else unknown(NO_PAGE)


def _immutable(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.FILE_HEAD):
        control = exchange.header("Cache-Control").lower()
        if exchange.status != 200:
            return unknown(f"The file is answered {exchange.told}.")
        if not exchange.header("ETag"):
            return fails("The file has no ETag.")
        if "immutable" not in control or not re.search(r"max-age=[1-9]\d{4,}", control):
            return fails(f"The file has Cache-Control: {control or 'nothing'}, without a long max-age or immutable.")
        return ok("Files have ETags and are immutable.")
    return unknown(NO_FILE)


def _private(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.PAGE, Ask.PAGE_HTML):
        varies = "authorization" in exchange.header("Vary").lower()
        if not varies and not re.search(r"private|no-store", exchange.header("Cache-Control").lower()):
            return fails(
                "The page needs a login, but neither private nor Vary: Authorization says so; a cache may give it to anybody."
            )
    return ok("The page that needs a login says so to caches.")


def _gzip(recording: Recording) -> Finding:
    for plain, packed in zip(recording.get(Ask.PAGE), recording.get(Ask.GZIPPED), strict=False):
        if packed.header("Content-Encoding").lower() != "gzip":
            return fails(
                "Accept-Encoding: gzip gives the page unpacked; a page of a thousand files is ten times as large as it need be."
            )
        if packed.header("ETag") == plain.header("ETag") and not plain.header("ETag").startswith("W/"):
            return fails("The packed page has the strong ETag of the plain one.")
        return ok("Pages are sent gzipped on request, with an ETag of their own.")
    return unknown(NO_PAGE)


def _negative(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.UNKNOWN):
        if exchange.status != 404:
            return fails(f"A project that does not exist is answered {exchange.told} instead of 404.")
        kept = re.search(r"max-age=(\d+)", exchange.header("Cache-Control").lower())
        if kept and int(kept[1]) > _LONG:
            return fails(f"A 404 may be kept for {kept[1]} seconds; a project that comes meanwhile is not seen.")
        return ok("A project that does not exist is a 404, which is not kept for long.")
    return unknown(NOT_ASKED)


def _challenge(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.AS_NOBODY, Ask.AS_SOMEBODY_ELSE):
        if exchange.status != 401:
            return fails(f"Without a right login the page is answered {exchange.told} instead of 401.")
        if not exchange.header("WWW-Authenticate").lower().startswith("basic"):
            return fails("401 has no WWW-Authenticate: Basic, so installers do not look for a login.")
    return ok("Without a right login the page is 401, with a challenge.")


def _login(recording: Recording) -> Finding:
    found = recording.get(Ask.PAGE, Ask.PAGE_HEAD, Ask.FILE_HEAD, Ask.FIRST_BYTES, Ask.METADATA)
    if not recording.password:
        return unknown("It needs a login; --user gives one.")
    for exchange in found:
        if exchange.status in (401, 403):
            return fails(
                f"{exchange.question.method} {exchange.question.url} is answered {exchange.told}, though the login came with it."
            )
    return ok("A login that comes with the first request counts, for pages, files, metadata and HEAD.")


def _same_place(recording: Recording) -> Finding:
    if not recording.file:
        return unknown(NO_FILE)
    here, there = split(recording.base), split(recording.address_of(recording.file))
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        return fails(f"Files are at {there.scheme}://{there.netloc}, where installers do not send the login for {here.netloc}.")
    return ok("Files are where the login is sent to.")


def _secrets(recording: Recording) -> Finding:
    if not recording.password:
        return unknown("There is no login whose password could be seen.")
    for exchange in recording.exchanges.values():
        shown = exchange.body + repr(exchange.headers).encode()
        if recording.password.encode() in shown:
            return fails(f"The answer to {exchange.question.url} shows the password.")
    return ok("The password is seen nowhere.")


def _post(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.POST):
        if exchange.status != 405:
            return fails(
                f"POST to a page is answered {exchange.told} instead of 405, so uploads to a wrong address are misunderstood."
            )
        return ok("POST to a page is 405.")
    return unknown(NO_PAGE)


def _keep_alive(recording: Recording) -> Finding:
    whole = [exchange for exchange in recording.exchanges.values() if exchange.status and exchange.is_whole]
    closed = [exchange for exchange in whole if not exchange.kept_open]
    if not whole:
        return unknown(NOT_ASKED)
    if len(closed) > len(whole) // 4:
        return fails(
            f"The server closed {len(closed)} of {len(whole)} connections after one answer; each new one costs a round trip."
        )
    return ok("Connections are kept open.")


def _retry_after(recording: Recording) -> Finding:
    busy = [exchange for exchange in recording.exchanges.values() if exchange.status in (429, 503)]
    if not busy:
        return unknown("The server was not too busy for anything.")
    return settle(_without(busy, "Retry-After"), "429 and 503 say when to come back.")


def _without(exchanges: list[Exchange], header: str) -> Iterator[str]:
    for exchange in exchanges:
        if not exchange.header(header):
            yield f"{exchange.question.url} ({exchange.told}) has no {header}."


def _date(recording: Recording) -> Finding:
    found = answered(recording.exchanges.values())
    return settle(_without(found, "Date"), "Every answer has a Date.") if found else unknown(NOT_ASKED)


JUDGES: dict[int, Judge] = {
    52: _etags,
    53: _cache_control,
    56: _immutable,
    57: _with_login(_private),
    58: _gzip,
    59: _negative,
    69: _with_login(_challenge),
    70: _with_login(_login),
    71: _with_login(_same_place),
    73: _secrets,
    85: _post,
    105: _keep_alive,
    107: _retry_after,
    108: _date,
}
