"""Judging R37 to R51: files and the metadata beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from twistpi.cli.checking_index.judging import NO_FILE, Finding, Judge, fails, ok, settle, unknown
from twistpi.cli.checking_index.recording import Ask, Recording
from twistpi.cli.exchanges import Exchange

_NO_METADATA = "No file of this page has its metadata beside it."
_SOME = 10


def _length(recording: Recording) -> int | None:
    """Bytes of the file, as HEAD or the page says; None when nobody does."""
    for exchange in recording.get(Ask.FILE_HEAD):
        if exchange.status == 200 and exchange.header("Content-Length").isdigit():
            return int(exchange.header("Content-Length"))
    size = recording.file.get("size")
    return size if isinstance(size, int) else None


def _metadata_digest(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.METADATA):
        stated = recording.described.get("core-metadata") or recording.described.get("dist-info-metadata")
        if exchange.status != 200:
            return unknown(f"The metadata is answered {exchange.told}.")
        for algorithm, expected in stated.items() if isinstance(stated, dict) else ():
            if algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake"):
                if hashlib.new(algorithm, exchange.body, usedforsecurity=False).hexdigest() != expected:
                    return fails(f"{exchange.question.url} does not have the {algorithm} that the page promises.")
                return ok("The metadata beside a wheel has the digest that the page promises.")
        return unknown("The page has no digest of it that could be checked.")
    return unknown(_NO_METADATA)


def _metadata_served(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.METADATA):
        if exchange.status != 200:
            return fails(f"The page promises {exchange.question.url}, which is answered {exchange.told}.")
        return ok("The metadata that the page promises is there.")
    return unknown(_NO_METADATA)


def _heads(recording: Recording) -> Finding:
    found = recording.get(Ask.FILE_HEAD, Ask.METADATA_HEAD)

    def wrong() -> Iterator[str]:
        for exchange in found:
            url = exchange.question.url
            if exchange.status != 200:
                yield f"HEAD {url} is answered {exchange.told} instead of 200."
            elif not exchange.header("Content-Length").isdigit():
                yield f"HEAD {url} has no Content-Length."
            elif exchange.header("Accept-Ranges").lower() != "bytes":
                yield f"HEAD {url} does not say Accept-Ranges: bytes, so pip reads no metadata out of wheels."
        size, length = recording.file.get("size"), _length(recording)
        if isinstance(size, int) and length is not None and size != length:
            yield f"The page says that {recording.file.get('filename')} has {size} bytes, HEAD says {length}."

    return settle(wrong(), "HEAD of files and metadata has length and Accept-Ranges.") if found else unknown(NO_FILE)


def _ranges(recording: Recording) -> Finding:
    length = _length(recording)
    if length is None or length <= 2 * _SOME:
        return unknown(NO_FILE)
    expected = {
        Ask.FIRST_BYTES: f"bytes 0-{_SOME - 1}/{length}",
        Ask.MIDDLE_BYTES: f"bytes {_SOME}-{length - 1}/{length}",
        Ask.LAST_BYTES: f"bytes {length - _SOME}-{length - 1}/{length}",
        Ask.MORE_BYTES: f"bytes 0-{length - 1}/{length}",
    }

    def wrong() -> Iterator[str]:
        for ask, span in expected.items():
            for exchange in recording.get(ask):
                what = f"Range: {exchange.question.headers.get('Range')}"
                if exchange.status != 206:
                    yield f"{what} is answered {exchange.told} instead of 206."
                elif exchange.header("Content-Range") != span:
                    yield f"{what} has the Content-Range {exchange.header('Content-Range')!r} instead of {span!r}."
        for exchange in recording.get(Ask.NO_BYTES):
            if exchange.status != 416 or exchange.header("Content-Range") != f"bytes */{length}":
                yield f"A range beyond the end is answered {exchange.told} instead of 416 with Content-Range: bytes */{length}."

    return settle(wrong(), "Ranges are answered 206, or 416 beyond the end.")


def _odd_ranges(recording: Recording) -> Finding:
    found = recording.get(Ask.SEVERAL_RANGES, Ask.MALFORMED_RANGE)

    def wrong() -> Iterator[str]:
        for exchange in found:
            in_parts = exchange.status == 206 and exchange.content_type == "multipart/byteranges"
            several = exchange.question is found[0].question
            # RFC 9110 lets a server reject what is no range at all, as nginx does.
            is_right = in_parts if several else exchange.status == 416
            if exchange.status != 200 and not is_right:
                yield f"Range: {exchange.question.headers.get('Range')} is answered {exchange.told} instead of the whole file."

    return settle(wrong(), "What is no single range gets the whole file, or a refusal.") if found else unknown(NO_FILE)


def _if_range(recording: Recording) -> Finding:
    for same, other in zip(recording.get(Ask.IF_RANGE), recording.get(Ask.IF_OTHER_RANGE), strict=False):
        if same.status != 206:
            return fails(f"If-Range with the file's own ETag is answered {same.told} instead of 206.")
        if other.status != 200:
            return fails(f"If-Range with another file's ETag is answered {other.told} instead of the whole file.")
        return ok("If-Range gives a part of the same file, and the whole of another one.")
    return unknown("The file has no ETag to ask with.")


def _no_encoding(recording: Recording) -> Finding:
    found = recording.get(Ask.FILE_HEAD, Ask.FILE_GZIPPED, Ask.METADATA)
    for exchange in found:
        encoding = exchange.header("Content-Encoding").lower()
        if encoding and encoding != "identity":
            return fails(f"{exchange.question.url} comes with Content-Encoding: {encoding}, which spoils digests and ranges.")
    return ok("Files come as they are, whatever Accept-Encoding says.") if found else unknown(NO_FILE)


def _signature(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.FILE_SIGNATURE):
        if exchange.status == 200 and _is_same(exchange, _length(recording)):
            return fails(f"{exchange.question.url} is answered with the file itself.")
        if exchange.status >= 500 or not exchange.status:
            return fails(f"{exchange.question.url} is answered {exchange.told} instead of 404.")
        return ok(f"A signature beside a file is answered {exchange.status}, and is not confused with it.")
    return unknown(NO_FILE)


def _is_same(exchange: Exchange, length: int | None) -> bool:
    stated = exchange.header("Content-Length")
    return bool(re.fullmatch(r"\d+", stated)) and int(stated) == length


JUDGES: dict[int, Judge] = {
    37: _metadata_digest,
    38: _metadata_served,
    40: _heads,
    41: _ranges,
    42: _odd_ranges,
    43: _if_range,
    45: _no_encoding,
    51: _signature,
}
