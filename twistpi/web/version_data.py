"""Releases as the devpi protocol tells of them: version data with ``+links`` and their logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from twistpi.model.names import comparable_version
from twistpi.model.records import Json, KnownFile, KnownProject
from twistpi.model.releases import Attachment, LogLine, Release
from twistpi.rules.releases import find_release, releases
from twistpi.rules.upload_metadata import shown_metadata
from twistpi.simple.urls import quote_path

Data = dict[str, Json]


def mirrored_data(known: KnownProject, version: str | None, outside: str) -> Mapping[str, Data]:
    """Version -> what is told of each release of a mirrored project, or of the one that ``version`` names.

    ``outside`` is the address of this server, without a slash at the end.
    """
    found = releases(known)
    if version is not None:
        one = find_release(version, known)
        found = {} if one is None else dict([one])
    return {spelled: _mirrored(known, spelled, files, outside) for spelled, files in found.items()}


def private_data(found: Sequence[Release], version: str | None, outside: str, *, is_quarantined: bool) -> Mapping[str, Data]:
    """The same of a private project, whose releases are ``found``; in quarantine its files are not offered."""
    if version is not None:
        found = [release for release in found if release.version == version] or [
            release for release in found if comparable_version(release.version) == comparable_version(version)
        ][:1]
    return {release.version: _private(release, outside, is_quarantined) for release in found}


def _mirrored(known: KnownProject, version: str, files: Sequence[KnownFile], outside: str) -> Data:
    """Nobody uploaded it here: no more than its files tell."""
    data: Data = {"name": known.project, "version": version}
    requires = next((file.link.requires_python for file in files if file.link.requires_python is not None), None)
    if requires is not None:
        data["requires_python"] = requires
    data.update(_yanked(files))
    base = _base(known.index, outside)
    data["+links"] = [_link("releasefile", base + quote_path(file.path), _hashes(file)) for file in files]
    return data


def _private(release: Release, outside: str, is_quarantined: bool) -> Data:
    data: Data = shown_metadata(release.metadata)
    data.update(_yanked([file.known for file in release.files]))
    base = _base(release.index, outside)
    hrefs = {file.known.link.filename: base + quote_path(file.known.path) for file in release.files}
    links = []
    for file in release.files:
        told = _link("releasefile", hrefs[file.known.link.filename], {"sha256": str(file.known.sha256)})
        links.append({**told, "log": _log(file.log)})
    links += [_attached(attachment, base, hrefs) for attachment in release.attachments]
    if links and not is_quarantined:
        data["+links"] = links
    return data


def _attached(attachment: Attachment, base: str, hrefs: Mapping[str, str]) -> Data:
    told = _link(attachment.kind, base + quote_path(attachment.path), {"sha256": attachment.sha256})
    if attachment.for_filename is not None:
        told["for_href"] = hrefs[attachment.for_filename]
    return {**told, "log": _log(attachment.log)}


def _base(index: str, outside: str) -> str:
    return f"{outside}/{quote_path(index)}/"


def _yanked(files: Sequence[KnownFile]) -> Data:
    yanked = next((file.link.yanked for file in files if file.link.yanked is not False), False)
    return {} if yanked is False else {"yanked": yanked}


def _hashes(file: KnownFile) -> Mapping[str, str]:
    return file.link.hashes if file.sha256 is None else {**file.link.hashes, "sha256": file.sha256}


def _link(kind: str, href: str, hashes: Mapping[str, str]) -> Data:
    algorithm = "sha256" if "sha256" in hashes else next(iter(hashes), None)
    spec = "" if algorithm is None else f"{algorithm}={hashes[algorithm]}"
    told = {"hashes": dict(hashes)} if hashes else {}
    return {"rel": kind, "hash_spec": spec, **told, "href": href}


def _log(lines: Sequence[LogLine]) -> list[Data]:
    return [_log_line(line) for line in lines]


def _log_line(line: LogLine) -> Data:
    told: Data = {"what": line.what, "who": line.who, "when": list(datetime.fromisoformat(line.when).timetuple()[:6])}
    if line.src is not None:
        told["src"] = line.src
    if line.count is not None:
        told["count"] = line.count
    return {**told, "dst": line.dst}
