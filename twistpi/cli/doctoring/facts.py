"""What a doctor sees, and what a doctor says."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from twistpi.cli.exchanges import Exchange


class Visit(enum.Enum):
    """Every question that is asked through the public address."""

    API = "the server's own description"
    READY = "whether it is ready"
    STATUS = "its status"
    SPOOFED = "its description, with headers that only a proxy may send"
    PAGE = "a page of an index"
    PAGE_GZIPPED = "the page, gzip accepted"
    FILE_HEAD = "a file that the page links to"
    FILE_RANGE = "ten bytes of it"
    PUSH = "the method PUSH"
    UPLOAD = "the head of a large upload"
    PROTECTED = "a file that is not for everybody"
    TREE = "the same file by its place on disk"


@attrs.frozen
class Outside:
    """What was seen through the public address."""

    url: str
    """Without a slash at the end."""
    exchanges: Mapping[Visit, Exchange] = attrs.field(factory=dict)
    asked_at: float = 0.0
    """Unix time in seconds by this machine's clock, when ``Visit.API`` was answered."""
    upload_length: int = 0
    """Bytes that the large upload announced."""
    certificate_ends: float | None = None
    """Unix time in seconds; None where there is no certificate, or none that is accepted."""


@attrs.frozen
class Upstream:
    """A mirror's upstream."""

    index: str
    url: str
    """Without credentials."""
    exchange: Exchange
    certificate_ends: float | None = None


@attrs.frozen
class Secluded:
    """A kept file of an index that not everybody may read."""

    index: str
    path: str
    """Below the index: ``+f/ab1/2cd34ef567890/NAME``."""
    blob: str
    """Below the server directory: ``+files/ab1/2cd34ef567890/NAME``."""


@attrs.frozen
class Machine:
    """What was seen on the server's machine."""

    serverdir: str
    version: str
    """Of the package that the doctor belongs to."""
    node_id: str
    running_pid: int | None = None
    """The process that has the directory; None when none does."""
    running_addresses: Sequence[str] = ()
    outside_url: str | None = None
    """The setting."""
    max_upload_size: int = 0
    """The setting; bytes."""
    trusts_everybody: bool = False
    """Whether the setting trusted-proxy names every address there is."""
    asks_upstreams: bool = True
    """Whether the server asks the mirrors' upstreams: it is not offline, and follows no other server."""
    disk_reserve: int = 0
    """The setting; bytes."""
    disk_free: int = 0
    """Bytes that the server's user may still write."""
    disk_total: int = 1
    inodes_free: int = 1
    inodes_total: int = 1
    """0 where the file system does not count them."""
    descriptors: int | None = None
    """How many files and connections the process may have open; None when nobody knows."""
    secret: str = ""
    """The path of the secret that signs logins."""
    secret_mode: int = 0o600
    closed: str | None = None
    """A folder on the way to ``+files`` that other users cannot enter; None when there is none."""
    hidden: str | None = None
    """A folder or file of ``+files`` that a web server under another user cannot read; None when there is none."""
    root_is_blank: bool = False
    upstreams: Sequence[Upstream] = ()
    secluded: Secluded | None = None
    cached: tuple[str, str] | None = None
    """An index that everybody may read, and a project of which it has files here."""


class Verdict(enum.Enum):
    """How something is."""

    OK = "ok"
    ADVICE = "advice"
    WRONG = "WRONG"
    UNKNOWN = "cannot tell"


def days(seconds: float) -> str:
    """So many days, rounded, in words."""
    number = round(seconds / 86400)
    return "1 day" if number == 1 else f"{number:,} days"


@attrs.frozen
class Diagnosis:
    """What a doctor says about one thing."""

    subject: str
    verdict: Verdict
    sentence: str
    """What was seen, and what to change."""
