"""All settings, in one table.

The fields of ``Settings`` are the table: name, kind, default and help make the command line of ``twistd twistpi``
(``options.py``), the ``TWISTPI_*`` variables and the TOML file (``setting_sources.py``) and the documentation page
(``cli/commands/help.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeVar, cast

import attrs

from twistpi.auth.passwords import CHEAPEST, DEAREST
from twistpi.server.setting_kinds import (
    BUCKET_ADDRESS,
    BYTES,
    DATABASE_ADDRESS,
    ENDPOINT,
    FEED,
    FILES_TO_REPLICATE,
    FLAG,
    INDEX,
    NETWORK,
    NETWORK_OR_NONE,
    OUTSIDE_ADDRESS,
    PASSWORD,
    PASSWORD_HASH,
    PATH,
    PATH_OR_OUTPUT,
    PRIMARY_ADDRESS,
    PRINCIPALS,
    READABLE_FILE,
    S3_ENDPOINT,
    TEXT,
    WEB_ADDRESS,
    Kind,
    Network,
    choice,
    days,
    hours,
    seconds,
    whole_number,
)

VARIABLE: Final = "TWISTPI_"
"""What the names of environment variables begin with."""
_KEY: Final = "setting"
_HOUR: Final = 3600
_YEAR: Final = 365 * 86400
_Value = TypeVar("_Value")


@attrs.frozen
class Setting:
    """One row of the table."""

    name: str
    """As on the command line and in the file: ``request-timeout``."""
    kind: Kind[object]
    default: object
    help: str
    """One sentence without a full stop."""
    shown_default: str
    """The default as the documentation shows it: as it would be given, or in words."""
    repeatable: bool = False

    @property
    def field(self) -> str:
        """The attribute of ``Settings``."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return VARIABLE + self.field.upper()

    @property
    def is_flag(self) -> bool:
        """Whether its presence on the command line is its value."""
        return self.kind is FLAG

    @property
    def unit(self) -> str:
        """The unit of the value; empty where there is none."""
        return self.kind.unit


def _field(kind: Kind[object], default: object, help: str, shown: str, *, repeatable: bool = False) -> object:
    row = {"kind": kind, "help": help, "shown_default": shown, "repeatable": repeatable}
    return attrs.field(default=default, metadata={_KEY: row}, repr=not kind.secret)


def _setting(kind: Kind[_Value], default: str, help: str) -> _Value:
    """Return the field of a setting whose default is given as users would give it."""
    return cast(_Value, _field(kind, kind.parse(default), help, default))


def _flag(help: str) -> bool:
    return _setting(FLAG, "false", help)


def _optional(kind: Kind[_Value], help: str, without: str) -> _Value | None:
    """Return the field of a setting that may be absent; ``without`` says what counts then."""
    return cast("_Value | None", _field(kind, None, help, without))


def _repeated(kind: Kind[_Value | None], help: str, without: str) -> tuple[_Value, ...]:
    """Return the field of a setting that may be given any number of times; ``without`` says what counts at none."""
    return cast("tuple[_Value, ...]", _field(kind, (), help, without, repeatable=True))


@attrs.frozen(kw_only=True)
class Settings:
    """The value of every setting."""

    serverdir: str = _setting(PATH, "~/.twistpi/server", "the directory for all data of this server; created if missing")
    require_initialised: bool = _flag(
        "do not start on a directory that is missing or empty, as that of a disk that is not mounted; twistpi init makes one"
    )
    host: str = _setting(TEXT, "127.0.0.1", "the IP address to listen on; 0.0.0.0 or :: for every interface")
    port: int = _setting(whole_number(0, 65535), "3141", "the TCP port to listen on; 0 chooses a free one and logs it")
    listen: tuple[str, ...] = _repeated(
        ENDPOINT, "a Twisted endpoint to listen on instead of host and port (tcp:, unix:, ssl:, systemd:)", "host and port"
    )
    upstream: str | None = _optional(
        WEB_ADDRESS,
        "the simple index that root/pypi mirrors; if root/pypi exists already, its mirror_url is changed to this",
        "the Python Package Index, or what root/pypi mirrors already",
    )
    no_root_pypi: bool = _flag("do not create the index root/pypi when the server directory is initialised")
    root_passwd: str | None = _optional(
        PASSWORD,
        "the password of root in a new server directory; with a blank one, root can log in from this machine only",
        "the blank password",
    )
    root_passwd_hash: str | None = _optional(
        PASSWORD_HASH, "the hash of root's password in a new server directory, instead of root-passwd", "none"
    )
    offline: bool = _flag("send no requests to upstreams, and list only stored files")
    mirror_cache_expiry: int = _setting(
        whole_number(0, _YEAR, "seconds"), "1800", "how long a mirrored page is served before it is revalidated"
    )
    request_timeout: float = _setting(
        seconds(_HOUR), "5", "how long an upstream may be silent, before its first byte and between two bytes"
    )
    outside_url: str | None = _optional(
        OUTSIDE_ADDRESS, "the address of this server as users see it, if requests do not have it", "from each request"
    )
    absolute_urls: bool = _flag("make the links to files on simple pages absolute, for clients that join relative ones wrongly")
    trusted_proxy: tuple[Network, ...] = _repeated(
        NETWORK,
        "the proxies in front of this server whose X-Outside-Url, X-Real-IP, Forwarded and X-Forwarded-* headers are trusted",
        "none, except connections to a unix socket",
    )
    forbidden_networks: tuple[str, ...] = _repeated(
        NETWORK_OR_NONE,
        "networks that this server never connects to for a mirror_url; replaces the default",
        "link-local addresses and those of cloud metadata services",
    )
    local_folders: tuple[str, ...] = _repeated(
        PATH, "folders on this server's disk that an administrator may make a mirror of, with all below them", "none"
    )
    advisories: str | None = _optional(
        FEED,
        "the feed of advisories (OSV records) that is read once a day: an address, a zip, a file or a folder",
        "those that were accepted before",
    )
    secretfile: str | None = _optional(
        PATH,
        "the file with the secret that signs login tokens; replicas need that of their primary",
        "secret in the server directory",
    )
    login_hours: float = _setting(hours(8760), "10", "how long a login is valid")
    bcrypt_cost: int = _setting(
        whole_number(CHEAPEST, DEAREST), "12", "the cost of bcrypt for new passwords; each step doubles the time to verify one"
    )
    restrict_modify: str | None = _optional(
        PRINCIPALS,
        "the only users who may create, change and delete users and indexes",
        "root and owners, and everybody may create users",
    )
    max_upload_size: int = _setting(BYTES, "4G", "the largest request body that is accepted; a larger one is refused with 413")
    upload_checks: Literal["strict", "lenient", "none"] = _setting(
        choice("strict", "lenient", "none"),
        "strict",
        "which uploads are accepted by indexes without a value of their own: strict, what every installer reads in the same way;"
        " lenient, what some installer reads; none, any bytes under a distribution's name",
    )
    anonymous_results: int = _setting(
        BYTES,
        "1G",
        "how much room the test results of one index may take before further ones need a login that may upload to it;"
        " each takes at least 4 KiB",
    )
    changelog: str | None = _optional(
        DATABASE_ADDRESS,
        "the PostgreSQL database that has the changelog, which this server shares with the other nodes of a cluster",
        "the changelog is in the server directory",
    )
    cache_dir: str | None = _optional(
        PATH,
        "the directory in which a node of a cluster keeps what can be had again at any time; created if missing",
        "needed with changelog",
    )
    cache_dir_bytes: int = _setting(
        BYTES, "10G", "how much of a bucket's files cache-dir may hold; those go first that nobody asked for the longest"
    )
    blobs: str | None = _optional(
        BUCKET_ADDRESS, "the S3 bucket that has the files of all nodes of a cluster: s3://bucket/prefix", "the server directory"
    )
    s3_endpoint: str | None = _optional(S3_ENDPOINT, "the server that has the bucket: http://HOST:PORT, https://HOST", "Amazon's")
    s3_region: str = _setting(TEXT, "us-east-1", "the region of the bucket; servers other than Amazon's mostly take any")
    s3_addressing: Literal["auto", "path", "virtual"] = _setting(
        choice("auto", "path", "virtual"), "auto", "whether addresses name the bucket in their path or host name (virtual)"
    )
    blob_delivery: Literal["auto", "stream", "redirect"] = _setting(
        choice("auto", "stream", "redirect"),
        "auto",
        "how clients get a bucket's files: through this server, or by a redirect to an address that is valid for minutes; auto"
        " redirects clients that keep files by their names, as uv does",
    )
    primary_url: str | None = _optional(
        PRIMARY_ADDRESS,
        "the primary that this server follows as a replica; stored, so it is needed again only to change it",
        "none: this server is a primary",
    )
    history: str = _setting(
        choice("all", "tail"),
        "all",
        "which part of the changelog a new replica of a large primary fetches: all of it, in the background, or only the end",
    )
    proxy_timeout: float = _setting(
        seconds(_HOUR), "30", "how long a replica waits for the change of a request that it forwarded"
    )
    workers: int = _setting(
        whole_number(0, 127),
        "0",
        "how many worker processes serve pages and files beside the first process; one for each core is useful",
    )
    log_level: str = _setting(choice("debug", "info", "warn", "error", "critical"), "info", "the lowest level to log")
    access_log: str | None = _optional(
        PATH_OR_OUTPUT,
        "the file for the access log, with a line for each request; - for the standard output",
        "requests are not logged",
    )
    log_format: Literal["text", "json"] = _setting(
        choice("text", "json"), "text", "the format of both logs: lines of text, or a JSON object on each line"
    )
    ca_file: str | None = _optional(
        READABLE_FILE, "a PEM file with authorities to trust for upstreams, beside the system's", "none"
    )
    metrics_from: tuple[Network, ...] = _repeated(
        NETWORK, "the networks from which /+metrics may be read without a login, beside this machine", "none"
    )
    no_downloads: bool = _flag("do not count downloads of files")
    download_days: int = _setting(
        whole_number(31, 3650, "days"), "90", "for how many days downloads are kept day by day; older ones are summed by month"
    )
    disk_reserve: int = _setting(
        BYTES,
        "256M",
        "the free disk space left to uploads: below, /+ready says not ready, and mirrors pass files on without keeping them",
    )
    min_free: int = _setting(
        BYTES, "512M", "the free disk space below which files that mirrors cached are evicted, the longest not asked for first"
    )
    cache_max_bytes: int | None = _optional(
        BYTES,
        "how many bytes of files all mirrors together keep; those that nobody asked for the longest are evicted",
        "no limit",
    )
    cache_max_age: float | None = _optional(days(36500), "for how many days mirrors keep a file that nobody asks for", "for ever")
    cache_min_age: float = _setting(
        days(36500), "1", "for how many days, but at least an hour, mirrors keep every file, unless the index says otherwise"
    )
    max_connections: int | None = _optional(
        whole_number(1, 1_000_000),
        "the largest number of connected clients; further ones wait",
        "half the number of file descriptors, at most 10000",
    )
    stop_timeout: float = _setting(
        seconds(_HOUR, zero=True), "10", "how long a stopping server may take to finish the requests under way"
    )
    json_index: str | None = _optional(
        INDEX, "the index whose projects are also at /pypi/NAME/json, where programs for the public index ask", "none"
    )
    no_cors: bool = _flag("do not let pages of other sites read what everybody may, as micropip and JupyterLite need it (CORS)")
    lenient_accept: bool = _flag("send a page as text/html, instead of 406, if a client accepts none of the available types")
    replicate_files: str = _setting(
        FILES_TO_REPLICATE,
        "all",
        "which files a replica fetches in advance: all, on-demand (none), or those of some indexes (root/pypi,alice/dev)",
    )
    replicate_at_once: int = _setting(whole_number(1, 64), "4", "how many requests for files a replica sends at the same time")
    file_search_path: str | None = _optional(
        PATH,
        "a folder in which a replica looks for files, by path or by name, before it requests them from its primary",
        "none",
    )
    page_cache_size: int = _setting(BYTES, "16M", "the memory for rendered pages, in each process")
    theme: str | None = _optional(PATH, "a folder whose templates/ and static/ replace those of the pages for people", "none")
    sources: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    """Where values come from, by the names of the settings that were given; this is no setting."""


def _rows() -> Iterator[Setting]:
    for field in attrs.fields(Settings):
        if _KEY in field.metadata:
            yield Setting(name=field.name.replace("_", "-"), default=field.default, **field.metadata[_KEY])


TABLE: Sequence[Setting] = tuple(_rows())
"""Every setting, in the order of the documentation."""

CONFIG: Final = Setting("config", READABLE_FILE, None, "a TOML file with any of these settings", "none")
"""The path of the file; the only setting that cannot be in the file."""

GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "The server": (
        *("config", "serverdir", "require-initialised", "host", "port", "listen"),
        *("workers", "max-connections", "stop-timeout", "page-cache-size", "theme"),
    ),
    "Mirrors": (
        *("upstream", "no-root-pypi", "mirror-cache-expiry", "request-timeout"),
        *("offline", "ca-file", "forbidden-networks", "local-folders", "advisories"),
        *("cache-max-bytes", "cache-max-age", "cache-min-age", "min-free"),
    ),
    "Users and uploads": (
        *("root-passwd", "root-passwd-hash", "restrict-modify", "login-hours"),
        *("bcrypt-cost", "secretfile", "max-upload-size", "upload-checks", "anonymous-results"),
        *("lenient-accept", "json-index", "no-cors"),
    ),
    "Behind a proxy": ("outside-url", "trusted-proxy", "absolute-urls"),
    "Many machines as one": (
        *("changelog", "cache-dir", "cache-dir-bytes", "blobs", "s3-endpoint", "s3-region", "s3-addressing", "blob-delivery"),
    ),
    "Replicas": (
        *("primary-url", "history", "replicate-files"),
        *("replicate-at-once", "file-search-path", "proxy-timeout"),
    ),
    "Logs and figures": (
        *("log-level", "log-format", "access-log", "metrics-from"),
        *("no-downloads", "download-days", "disk-reserve"),
    ),
}
"""Every setting, under its heading on the documentation page and in the help."""
