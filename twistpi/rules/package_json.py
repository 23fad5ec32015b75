"""A project as in the JSON API of the public index: ``info``, ``urls``, ``releases``, ``vulnerabilities``.

Every key is always there.  What is not known is None, or -1 for downloads and 0 for a serial, which no client takes for a fact.

Source: "JSON API" of the Python Package Index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import attrs

from twistpi.model.records import Json, KnownFile
from twistpi.rules.attachments import age_of
from twistpi.rules.osv import Advisory
from twistpi.rules.uploads import file_type
from twistpi.rules.version_list import ListedVersion, newest_version

_LARGEST_WHEEL: Final = 20 * 1024 * 1024
"""Bytes; a larger one is not downloaded for its metadata, should the upstream have neither a metadata file nor ranges."""
_MOST_WHEELS: Final = 3
"""Files of one release whose core metadata is looked for."""
_UNKNOWN: Final = -1
_TEXTS: Final = (
    "author",
    "author_email",
    "description_content_type",
    "download_url",
    "home_page",
    "keywords",
    "license",
    "license_expression",
    "maintainer",
    "maintainer_email",
    "summary",
)
_LISTS: Final = (("dynamic", "dynamic"), ("license_files", "license_file"), ("provides_extra", "provides_extras"),
                 ("requires_dist", "requires_dist"))  # fmt: skip
"""The keys of lists that are None when they are empty, with those of ``model/releases.py``."""


@attrs.frozen
class Package:
    """What is known of a project here."""

    project: str
    """The normalised name."""
    releases: Mapping[str, Sequence[KnownFile]]
    """Version -> its files, of all versions."""
    url: Callable[[KnownFile], str]
    """Returns the absolute URL of a file."""
    home: str
    """The absolute URL of the project's page, with a slash at the end."""
    docs: str | None = None
    """The absolute URL of the documentation that is here; None without any."""
    serial: int | None = None
    """The upstream's serial of the project; None without one."""
    owners: Sequence[str] = ()
    """The users whose private indexes have the project, nearest first."""
    advisories: Sequence[Advisory] = ()
    """What is known against the described version, where it comes from a mirror."""


def described_version(releases: Mapping[str, Sequence[KnownFile]]) -> str | None:
    """Return the version that a project is described by: the newest one with a file, as installers choose; None without any."""
    listed = [_listed(version, files) for version, files in releases.items()]
    newest = newest_version([one for one in listed if one.files] or listed)
    return None if newest is None else newest.version


def metadata_files(files: Iterable[KnownFile]) -> list[KnownFile]:
    """Return the few files of a release whose core metadata may be asked for, cheapest first."""
    possible = [file for file in files if file.metadata_sha256 is not None or _may_have_metadata(file)]
    possible.sort(key=lambda file: (file.metadata_sha256 is None, not file.cached, not file.link.core_metadata, _size(file) or 0))
    return possible[:_MOST_WHEELS]


def package_document(package: Package, version: str, fields: Mapping[str, Json], *, whole: bool) -> dict[str, Json]:
    """Return the document of ``package`` with the ``info`` of ``version``, one of its releases.

    ``fields`` is the core metadata of that version, by the keys of ``model/releases.py``.  ``releases`` is there only with
    ``whole``: the document of one version has its files as ``urls``.
    """
    files = package.releases[version]
    document: dict[str, Json] = {
        "info": _info(package, version, fields),
        "last_serial": package.serial or 0,
        "ownership": {"organization": None, "roles": [{"role": "Owner", "user": user} for user in package.owners]},
        "urls": [_file(file, package.url(file)) for file in files],
        "vulnerabilities": [vulnerability(advisory) for advisory in package.advisories],
    }
    if whole:
        document["releases"] = {
            each: [_file(file, package.url(file)) for file in package.releases[each]]
            for each in sorted(package.releases, key=age_of)
        }
    return document


def vulnerability(advisory: Advisory) -> dict[str, Json]:
    """Return an advisory as the document has it; the set of advisories keeps only a summary of the details."""
    return {
        "aliases": list(advisory.aliases),
        "details": advisory.summary,
        "fixed_in": list(dict.fromkeys(one.fixed for one in advisory.ranges if one.fixed is not None)),
        "id": advisory.id,
        "link": f"https://osv.dev/vulnerability/{quote(advisory.id)}",
        "source": "osv",
        "summary": advisory.summary or None,
        "withdrawn": None,
    }


def _info(package: Package, version: str, fields: Mapping[str, Json]) -> dict[str, Json]:
    files = package.releases[version]
    yanked = _listed(version, files).yanked
    of_files = (file.link.requires_python for file in files)
    return {
        **{key: fields.get(key) or None for key in _TEXTS},
        **{key: fields.get(field) or None for key, field in _LISTS},
        "bugtrack_url": None,
        "classifiers": list(fields.get("classifiers") or ()),
        "description": fields.get("description") or "",
        "docs_url": package.docs,
        "downloads": dict.fromkeys(("last_day", "last_month", "last_week"), _UNKNOWN),
        "name": fields.get("name") or package.project,
        "package_url": package.home,
        "platform": ",".join(fields.get("platform") or ()) or None,
        "project_url": package.home,
        "project_urls": _project_urls(fields) or None,
        "release_url": f"{package.home}{quote(version, safe='+!')}/",
        "requires_python": fields.get("requires_python") or next((found for found in of_files if found), None),
        "version": version,
        **_yanked(yanked),
    }


def _project_urls(fields: Mapping[str, Json]) -> dict[str, str]:
    named = {"Homepage": fields.get("home_page"), "Download": fields.get("download_url")}
    urls = {label: url for label, url in named.items() if url}
    for entry in fields.get("project_urls") or ():
        label, _comma, url = entry.partition(",")
        urls[label.strip()] = url.strip()
    return urls


def _file(file: KnownFile, url: str) -> dict[str, Json]:
    link = file.link
    kind, python = file_type(link.filename)
    digests = link.hashes if file.sha256 is None else {**link.hashes, "sha256": file.sha256}
    return {
        "comment_text": None,
        "digests": dict(digests),
        "downloads": _UNKNOWN,
        "filename": link.filename,
        "has_sig": False,
        "md5_digest": digests.get("md5"),
        "packagetype": kind,
        "python_version": python,
        "requires_python": link.requires_python,
        "size": _size(file),
        "upload_time": None if link.upload_time is None else link.upload_time[:19],
        "upload_time_iso_8601": link.upload_time,
        "url": url,
        **_yanked(link.yanked),
    }


def _yanked(yanked: bool | str) -> dict[str, Json]:
    return {"yanked": yanked is not False, "yanked_reason": yanked or None if isinstance(yanked, str) else None}


def _may_have_metadata(file: KnownFile) -> bool:
    link = file.link
    if file.metadata_missing or not link.url or not link.is_wheel:
        return False
    return file.cached or (not file.vanished and (bool(link.core_metadata) or 0 < (link.size or 0) <= _LARGEST_WHEEL))


def _size(file: KnownFile) -> int | None:
    return file.size if file.link.size is None else file.link.size


def _listed(version: str, files: Sequence[KnownFile]) -> ListedVersion:
    return ListedVersion(version, "", False, tuple(files))
