"""Projects, links, indexes, users and API tokens as frozen values.

Names of projects are normalised, those of indexes read ``user/name``; sizes are in bytes, times UTC.

Source unless said otherwise: "Simple repository API" (PEP 503, 592, 658, 691, 700, 714, 740, 792), version 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from twistpi.model.names import is_wheel

Json = Any
"""A JSON value: None, bool, int, float, str, or lists and string-keyed dicts of these."""

NOTHING: Final[Mapping[str, Json]] = {}
"""The shared empty mapping, which is never changed."""


@attrs.frozen
class Link:
    """A file as a simple page lists it."""

    filename: str
    """The name of the file; the last component of its URL."""
    url: str
    """Where an upstream has the bytes: absolute, http or https, without a fragment."""
    hashes: Mapping[str, str] = NOTHING
    """Algorithm to lower-case hexadecimal digest; "MAY be empty", sha256 is recommended."""
    size: int | None = None
    requires_python: str | None = None
    """The ``Requires-Python`` of the release; None when the page has none."""
    upload_time: str | None = None
    """``yyyy-mm-ddThh:mm:ss.ffffffZ``, UTC, as the page has it; None when it has none."""
    yanked: bool | str = False
    """True or the reason when the file is yanked (PEP 592)."""
    core_metadata: bool | Mapping[str, str] | None = None
    """Digests of the metadata file beside it, True without digests, False for none, None when the page does not say (PEP 714)."""
    provenance: str | None = None
    """Absolute https URL of the provenance object (PEP 740)."""
    extra: Mapping[str, Json] = NOTHING
    """Every other key of the file in the JSON page, unchanged, so that the next standard works before we know it."""

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the bytes as lower-case hexadecimal digits, when the page gave one."""
        return self.hashes.get("sha256")

    @property
    def is_wheel(self) -> bool:
        """Whether the file is a wheel."""
        return is_wheel(self.filename)


@attrs.frozen
class PageHeader:
    """The rest of a project page beside its files and versions."""

    status: str | None = None
    """The project status marker: ``active``, ``archived``, ``quarantined`` or ``deprecated`` (PEP 792); None when not given."""
    status_reason: str | None = None
    last_serial: int | None = None
    """The upstream's own serial for the project; private to upstreams that have one."""
    extra: Mapping[str, Json] = NOTHING
    """Every other top-level key of the JSON page, unchanged."""


@attrs.frozen
class ProjectPage:
    """A project page, parsed from an upstream or made by an index."""

    project: str
    links: tuple[Link, ...]
    """One per file name, in the order of the page."""
    versions: tuple[str, ...] = ()
    """All versions the page names (PEP 700), those without files included; empty when it names none."""
    header: PageHeader = PageHeader()


@attrs.frozen
class KnownFile:
    """A link as this server has it: its path, and which of its bytes are here."""

    link: Link
    path: str
    """Below the index: ``+f/ab1/2cd34ef567890/NAME`` or ``+e/DIRECTORY/NAME``; never changes."""
    sha256: str | None = None
    """SHA-256 of the cached bytes; None while they are not here."""
    size: int | None = None
    """Bytes of the cached file; None while it is not here."""
    metadata_sha256: str | None = None
    """SHA-256 of the cached core metadata; None while it is not here."""
    metadata_size: int | None = None
    metadata_missing: bool = False
    """Whether it is known that there is no readable core metadata."""
    vanished: bool = False
    """Whether the upstream does not list the file any more."""

    @property
    def cached(self) -> bool:
        """Whether the bytes are here."""
        return self.sha256 is not None

    @property
    def blob_sha256(self) -> str | None:
        """The digest under which the bytes are stored, or will be; None while it is not known."""
        return self.sha256 or self.link.sha256

    @property
    def metadata_blob_sha256(self) -> str | None:
        """The digest in the path of the cached core metadata; None while it is not known.

        The wheel's where the upstream gives one, so that the metadata lies beside the wheel; else the metadata's own, because the
        path must not change when the wheel is downloaded.
        """
        return self.link.sha256 or self.metadata_sha256


@attrs.frozen
class KnownProject:
    """A project as one index of this server knows it."""

    index: str
    project: str
    files: tuple[KnownFile, ...]
    versions: tuple[str, ...] = ()
    header: PageHeader = PageHeader()
    vanished: bool = False
    """Whether the upstream answered 404 for a project it once had."""

    @property
    def quarantined(self) -> bool:
        """A quarantined project "MUST NOT offer files" (PEP 792)."""
        return self.header.status == "quarantined"

    @property
    def offered(self) -> tuple[KnownFile, ...]:
        """The files that a page lists: none of a quarantined project, and of what vanished upstream only what is cached."""
        if self.quarantined:
            return ()
        if self.vanished:
            return tuple(attrs.evolve(file, vanished=True) for file in self.files if file.cached)
        return tuple(file for file in self.files if not file.vanished or file.cached)


@attrs.frozen
class Freshness:
    """When an upstream last answered about a project, and its validators; local to this server, never an entry (law 1)."""

    checked_at: float
    """Unix time in seconds of the upstream's last answer."""
    etag: str | None = None
    """The ``ETag`` of the answer, unchanged."""
    last_modified: str | None = None
    """The ``Last-Modified`` of the answer, unchanged."""
    missing: bool = False
    """Whether the answer was that there is no such project."""
    source: str = ""
    """The address of the page, without credentials: validators of one upstream mean nothing to another."""


@attrs.frozen
class Index:
    """An index with its settings."""

    name: str
    config: Mapping[str, Json]
    """Keys as the devpi client knows them: ``type``, ``volatile``, ``bases``, ``mirror_url`` …"""

    @property
    def is_mirror(self) -> bool:
        """Whether it copies an upstream."""
        return self.config.get("type") == "mirror"

    @property
    def bases(self) -> tuple[str, ...]:
        """The indexes it inherits from, nearest first."""
        return tuple(self.config.get("bases", ()))


# Users ---------------------------------------------------------------------------------------------------------------


ROOT: Final = "root"
"""The user that every server has, and that administers all others."""
ANYBODY: Final = ":ANONYMOUS:"
"""In an access list: everybody, with or without a login."""
ANY_USER: Final = ":AUTHENTICATED:"
"""In an access list: everybody who is logged in."""
BY_ANONYMOUS: Final = "+anonymous"
"""The author of an entry that a request without a login caused."""


@attrs.frozen
class User:
    """An account that can own indexes and, with a password, log in."""

    name: str
    config: Mapping[str, Json] = NOTHING
    """``email``, ``title``, ``description`` and ``custom_data``, where set."""
    password_hash: str | None = None
    """The hash that ``auth.passwords`` makes; empty for the blank password, None for a user who cannot log in."""
    created: str = ""
    """UTC, ``2026-11-22T17:12:19Z``."""
    modified: str | None = None


@attrs.frozen
class ApiToken:
    """A password for programs, with limited rights and perhaps for a limited time.  Only its holder knows its secret half."""

    token: str
    """Its public half: 16 hexadecimal digits."""
    user: str
    digest: str
    """SHA-256 of its secret half, as hexadecimal digits."""
    may: tuple[str, ...]
    """``read``, ``upload`` or both."""
    index: str | None = None
    """The only index it is valid for, ``user/name``; None for all."""
    project: str | None = None
    """The only project (normalised) it may upload to; None for all."""
    expires: str | None = None
    """UTC, ``2026-11-22T17:00:00Z``; None for never."""
    title: str = ""
    created: str = ""
    """UTC, ``2026-11-22T17:12:19Z``."""


@attrs.frozen
class AdvisorySet:
    """The set of advisories that was accepted last."""

    sha256: str
    """Of its blob, which is called ``model.changes.ADVISORY_SET``."""
    size: int
    count: int
    """How many advisories are in it."""
    source: str
    """The feed that it was read from, without credentials."""
    modified: str
    """UTC, when the newest of them was changed, as the feed has it."""
    accepted: str
    """UTC, ``2026-11-30T17:12:19Z``."""


@attrs.frozen
class Principal:
    """The user, or nobody, that the credentials of a request prove."""

    user: str | None = None
    """None without credentials, and with such as prove nothing."""
    groups: tuple[str, ...] = ()
    """Names without the colon."""
    token: ApiToken | None = None
    """The API token that was sent instead of a password; it narrows what the user may do."""

    @property
    def author(self) -> str:
        """The author of an entry that a request of this principal causes."""
        return BY_ANONYMOUS if self.user is None else self.user


NOBODY: Final = Principal()
"""The principal of a request that proves nothing."""
