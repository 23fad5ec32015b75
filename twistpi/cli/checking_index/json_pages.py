"""Judging R26 to R36, and R98: the page and the list in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from twistpi.cli.checking_index.judging import Finding, Judge, fails, ok, settle, unknown
from twistpi.cli.checking_index.recording import JSON, Ask, Recording, split

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_HIGHEST_MINOR = 4
_PAGE_KEYS = {"meta", "name", "files", "versions", "project-status"}
_META_KEYS = {"api-version"}
_FILE_KEYS = {
    "filename", "url", "hashes", "requires-python", "core-metadata", "dist-info-metadata", "gpg-sig", "yanked", "size",
    "upload-time", "provenance",
}  # fmt: skip


def _with_page(judge: Callable[[Recording], Finding]) -> Judge:
    return lambda recording: judge(recording) if recording.page else unknown("There is no page in JSON.")


def _minor(recording: Recording) -> int | None:
    """The y of ``api-version`` 1.y; None when it is something else."""
    meta = recording.page.get("meta")
    found = re.fullmatch(r"1\.(\d+)", str(meta.get("api-version"))) if isinstance(meta, dict) else None
    return int(found[1]) if found else None


def _each_file(key: str, wrong_with: Callable[[Any], str | None]) -> Callable[[Recording], Iterator[str]]:
    """What is wrong with ``key`` of the files that have it."""

    def wrong(recording: Recording) -> Iterator[str]:
        for file in recording.files:
            if key in file and (reason := wrong_with(file[key])):
                yield f"{key} of {file.get('filename')} {reason}."

    return wrong


def _top(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        page = recording.page
        if _minor(recording) is None:
            yield 'meta.api-version is not there, or no text like "1.1".'
        name = page.get("name")
        if not isinstance(name, str) or name != canonicalize_name(name):
            yield f"name is {name!r}, which is not a normalised name."
        if not isinstance(page.get("files"), list) or len(recording.files) != len(page["files"]):
            yield "files is not a list of objects."
        if (_minor(recording) or 0) >= 1 and not isinstance(page.get("versions"), list):
            yield "versions is missing, which api-version 1.1 and later demand."

    return settle(wrong(), f"The page has meta, name, files ({len(recording.files)}) and what else its version demands.")


def _file_keys(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for file in recording.files:
            name = file.get("filename")
            if not isinstance(name, str) or not isinstance(file.get("url"), str):
                yield "A file has no filename or no url."
            elif not isinstance(file.get("hashes"), dict):
                yield f"hashes of {name} is not an object; where no digest is known it is an empty one."
            elif (_minor(recording) or 0) >= 1 and (not isinstance(file.get("size"), int) or isinstance(file["size"], bool)):
                yield f"size of {name} is missing or no number, which api-version 1.1 and later demand."

    return settle(wrong(), "Every file has filename, url, hashes and what else its version demands.")


def _versions(recording: Recording) -> Finding:
    versions = recording.page.get("versions")
    if not isinstance(versions, list):
        return unknown("The page lists no versions.")

    def wrong() -> Iterator[str]:
        if len(versions) != len(set(map(str, versions))):
            yield "versions has one twice."
        known = {_as_version(str(version)) for version in versions}
        for file in recording.files:
            version = _version_of(str(file.get("filename")))
            if version is not None and version not in known:
                yield f"versions lacks the {version} of {file.get('filename')}."

    return settle(wrong(), f"versions has all of them ({len(versions)}), each once.")


def _as_version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _version_of(filename: str) -> Version | None:
    """The version in a file's name; None where none can be read."""
    try:
        return parse_wheel_filename(filename)[1] if filename.endswith(".whl") else parse_sdist_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None


def _upload_time(value: Any) -> str | None:
    return None if isinstance(value, str) and _TIME.fullmatch(value) else f"is {value!r}, not like 2026-11-22T17:00:00.123456Z"


def _yanked(value: Any) -> str | None:
    return (
        None if isinstance(value, bool) or (isinstance(value, str) and value) else f"is {value!r}, neither a boolean nor a reason"
    )


def _core_metadata(value: Any) -> str | None:
    return None if isinstance(value, bool | dict) else f"is {value!r}, neither a boolean nor an object of digests"


def _provenance(value: Any) -> str | None:
    is_address = isinstance(value, str) and split(value).scheme == "https" and split(value).netloc
    return None if value is None or is_address else f"is {value!r}, neither null nor an absolute https address"


def _judge_files(key: str, wrong_with: Callable[[Any], str | None], right: str) -> Judge:
    def judge(recording: Recording) -> Finding:
        if not any(key in file for file in recording.files):
            return unknown(f"No file of this page has {key}.")
        return settle(_each_file(key, wrong_with)(recording), right)

    return _with_page(judge)


def _metadata_keys(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        for file in recording.files:
            if "dist-info-metadata" in file:
                yield f"{file.get('filename')} has dist-info-metadata, which makes pip 22.3 to 23.0 fail."
        yield from _each_file("core-metadata", _core_metadata)(recording)

    return settle(wrong(), "core-metadata is a boolean or an object, and there is no dist-info-metadata beside it.")


def _project_status(recording: Recording) -> Finding:
    meta = recording.page.get("meta")
    if isinstance(meta, dict) and "project-status" in meta:
        return fails("project-status stands in meta; it belongs at the top of the page.")
    status = recording.page.get("project-status")
    if status is None:
        return ok("The page states no status, which means active.")
    if not isinstance(status, dict) or not isinstance(status.get("status"), str):
        return fails(f"project-status is {status!r}, not an object with a status.")
    return ok(f"project-status is {status['status']}.")


def _own_keys(recording: Recording) -> Finding:
    def wrong() -> Iterator[str]:
        meta = recording.page.get("meta")
        places = [("the page", recording.page, _PAGE_KEYS), ("meta", meta if isinstance(meta, dict) else {}, _META_KEYS)]
        places += [(f"{file.get('filename')}", file, _FILE_KEYS) for file in recording.files]
        for where, fields, known in places:
            for key in fields:
                if key not in known and not key.startswith("_"):
                    yield f"{where} has the key {key!r}, which is in no standard; keys of one's own begin with an underscore."

    return settle(wrong(), "Keys that are in no standard begin with an underscore, or there are none.")


def _list(recording: Recording) -> Finding:
    for exchange in recording.get(Ask.LIST):
        if exchange.content_type != JSON:
            return unknown("There is no list in JSON.")
        if not exchange.is_whole:
            beginning = exchange.body.decode("utf-8", "replace")
            found = re.search(r'"projects"\s*:\s*\[\s*(\{[^{}]*"name"\s*:\s*"[^"]+")?', beginning)
            return (
                ok("The list has projects with names, as far as it was read.")
                if found
                else unknown("The list is too long to read.")
            )
        projects = exchange.json.get("projects")
        if not isinstance(projects, list) or not all(
            isinstance(one, dict) and isinstance(one.get("name"), str) for one in projects
        ):
            return fails("The list in JSON has no projects, each with a name.")
        return ok(f"The list in JSON has projects ({len(projects)}), each with a name.")
    return unknown("The list was not asked.")


def _advertised(recording: Recording) -> Finding:
    minor = _minor(recording)
    if minor is None:
        return unknown("api-version says nothing.")
    if minor > _HIGHEST_MINOR:
        return fails(f"api-version is 1.{minor}, which is not a standard yet.")
    return ok(f"api-version is 1.{minor}.")


JUDGES: dict[int, Judge] = {
    26: _with_page(_top),
    27: _with_page(_file_keys),
    28: _with_page(_versions),
    29: _judge_files("upload-time", _upload_time, "upload-time is UTC with at most six digits of a second."),
    30: _judge_files("yanked", _yanked, "yanked is a boolean or a reason."),
    31: _with_page(_metadata_keys),
    33: _judge_files("provenance", _provenance, "provenance is null or an absolute https address."),
    34: _with_page(_project_status),
    35: _with_page(_own_keys),
    36: _list,
    98: _with_page(_advertised),
}
