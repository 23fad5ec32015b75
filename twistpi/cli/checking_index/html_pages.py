"""Judging R18 to R25: the page in HTML, also against the page in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import unquote

from twistpi.cli.checking_index.judging import Finding, Judge, fails, ok, settle, unknown
from twistpi.cli.checking_index.recording import Anchor, Recording, meta_of, split

_HIGHEST_MINOR = 4
_STATES = ("active", "archived", "quarantined", "deprecated")
_NAIVE = re.compile(r"<a [^>]+>([^<]+)</a>")
_SHA256 = re.compile(r"sha256=[0-9a-f]{64}")
_RAW_REQUIRES = re.compile(r"""data-requires-python=(["'])(.*?)\1""")


def _with_page(judge: Callable[[Recording], Finding]) -> Judge:
    return lambda recording: judge(recording) if recording.html else unknown("There is no page in text/html.")


def _pairs(recording: Recording) -> Iterator[tuple[Anchor, Mapping[str, Any]]]:
    """Each link with its file of the page in JSON."""
    files = {str(file.get("filename")): file for file in recording.files}
    for anchor in recording.anchors:
        if anchor.text in files:
            yield anchor, files[anchor.text]


def _well_formed(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        if not recording.html.lstrip().lower().startswith("<!doctype html"):
            yield "The page does not begin with <!DOCTYPE html>."
        texts = [anchor.text for anchor in recording.anchors]
        if len(texts) != len(set(texts)):
            yield "A file has more than one link."
        names = {str(file.get("filename")) for file in recording.files}
        if names and names != set(texts):
            odd = sorted(names ^ set(texts))[0]
            yield f"{odd} is in one form of the page, HTML or JSON, but not in the other."
        for anchor in recording.anchors:
            last = unquote(split(anchor.href).path.rpartition("/")[2])
            if anchor.text != last:
                yield f"The text of a link is {anchor.text!r}, but its address ends in {last!r}; both are to be the file's name."

    return settle(wrong(), f"It is HTML5, and its links ({len(recording.anchors)}) have the names of their files.")


def _version(recording: Recording) -> Finding:
    version = meta_of(recording.html).get("pypi:repository-version")
    if version is None:
        return fails('There is no <meta name="pypi:repository-version">.')
    found = re.fullmatch(r"1\.(\d+)", version)
    if found is None or int(found[1]) > _HIGHEST_MINOR:
        return fails(f"pypi:repository-version is {version}; in HTML there is none above 1.{_HIGHEST_MINOR}.")
    return ok(f"pypi:repository-version is {version}.")


def _digests(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for anchor, file in _pairs(recording):
            hashes = file.get("hashes")
            if isinstance(hashes, dict) and hashes.get("sha256") and not _SHA256.fullmatch(split(anchor.href).fragment):
                yield f"The link of {anchor.text} has no #sha256= in lower case, though the digest is known."

    if not recording.anchors:
        return unknown("The page has no links.")
    return settle(wrong(), "Links carry the SHA-256 of their files where it is known.")


def _requires_python(recording: Recording) -> Finding:
    stated = _RAW_REQUIRES.findall(recording.html)

    def wrong() -> Iterator[str]:
        for _, text in stated:
            if "<" in text or ">" in text:
                yield f'data-requires-python="{text}" is not escaped.'
        for anchor, file in _pairs(recording):
            if (file.get("requires-python") or None) != (anchor.attributes.get("data-requires-python") or None):
                yield f"data-requires-python of {anchor.text} is not the requires-python of the page in JSON."

    if not stated and not any(file.get("requires-python") for file in recording.files):
        return unknown("No file of this page says which Python it needs.")
    return settle(wrong(), "data-requires-python is escaped, and the same as in JSON.")


def _yanked(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for anchor, file in _pairs(recording):
            if bool(file.get("yanked")) != ("data-yanked" in anchor.attributes):
                yield f"{anchor.text} is yanked in one form of the page, HTML or JSON, but not in the other."

    if not recording.files:
        return unknown("There is no page in JSON to compare it with.")
    some = any(file.get("yanked") for file in recording.files)
    return settle(
        wrong(), "data-yanked stands at the files that are yanked." if some else "Nothing is yanked, and nothing says so."
    )


def _metadata(recording: Recording) -> Finding:
    stated = [
        anchor for anchor in recording.anchors if {"data-core-metadata", "data-dist-info-metadata"} & set(anchor.attributes)
    ]
    for anchor in stated:
        if anchor.attributes.get("data-core-metadata") != anchor.attributes.get("data-dist-info-metadata"):
            return fails(
                f"data-core-metadata and data-dist-info-metadata of {anchor.text} differ; old and new pip read one each."
            )
    if not stated:
        return unknown("No file of this page has its metadata beside it.")
    return ok("data-core-metadata and data-dist-info-metadata say the same.")


def _status(recording: Recording) -> Finding:
    status = meta_of(recording.html).get("pypi:project-status")
    if status is None:
        return ok("The page states no status, which means active.")
    return ok(f"The status is {status}.") if status in _STATES else fails(f"There is no status {status!r}: {', '.join(_STATES)}.")


def _naive(recording: Recording) -> Finding:
    found, links = [unescape(text).strip() for text in _NAIVE.findall(recording.html)], recording.anchors
    if found != [anchor.text for anchor in links]:
        return fails("The pattern that simple programs look for links with misreads some; is a > in an attribute not escaped?")
    return ok("The pattern that simple programs look for links with finds them all.")


JUDGES: dict[int, Judge] = {
    18: _with_page(_well_formed),
    19: _with_page(_version),
    20: _with_page(_digests),
    21: _with_page(_requires_python),
    22: _with_page(_yanked),
    23: _with_page(_metadata),
    24: _with_page(_status),
    25: _with_page(_naive),
}
