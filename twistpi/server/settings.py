"""All settings, in one table.

The fields of ``Settings`` are the table: name, kind, default, unit and help make the command line of ``twistd twistpi``
(``options.py``), the ``TWISTPI_*`` variables, the TOML file and the documentation page (``cli/commands/help.py``).

A value on the command line wins over the environment, that over the file, and that over the default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

import attrs

from twistpi.model.errors import invalid_setting
from twistpi.server.setting_kinds import (
    BCRYPT_COST,
    BYTES,
    ENDPOINT,
    FILES_TO_REPLICATE,
    FLAG,
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
    TEXT,
    WEB_ADDRESS,
    Kind,
    choice,
    hours,
    seconds,
    whole_number,
)

Network = IPv4Network | IPv6Network
_KEY = "setting"
_YEAR = 365 * 86400
_NOT_SHOWN = "(not shown)"
_VARIABLE = "TWISTPI_"
_NO_TABLE = "; settings must be at the top of the file, outside any table"


@attrs.frozen
class Setting:
    """One row of the table."""

    name: str
    """As on the command line and in the file: ``request-timeout``."""
    kind: Kind
    default: Any
    help: str
    """One sentence without a full stop."""
    unit: str = ""
    default_text: str | None = None
    """The default in words where the value itself says little."""
    repeatable: bool = False

    @property
    def field(self) -> str:
        """The attribute of ``Settings``."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return _VARIABLE + self.field.upper()

    @property
    def is_flag(self) -> bool:
        """Whether its presence on the command line is its value."""
        return self.kind is FLAG

    @property
    def shown_default(self) -> str:
        """The default as the documentation shows it."""
        if self.default_text is not None:
            return self.default_text
        return str(self.default).lower() if self.is_flag else str(self.default)


def _setting(kind: Kind, default: Any, help: str, *, unit: str = "", shown: str | None = None, repeatable: bool = False) -> Any:
    row = {"kind": kind, "help": help, "unit": unit, "default_text": shown, "repeatable": repeatable}
    return attrs.field(default=default, metadata={_KEY: row}, repr=not kind.secret)


@attrs.frozen(kw_only=True)
class Settings:
    """The value of every setting."""

    serverdir: str = _setting(
        PATH, os.path.expanduser("~/.twistpi/server"), "the directory for all data of this server; created if missing",
        shown="~/.twistpi/server",
    )  # fmt: skip
    host: str = _setting(TEXT, "127.0.0.1", "the IP address to listen on; 0.0.0.0 or :: for every interface")
    port: int = _setting(whole_number(0, 65535), 3141, "the TCP port to listen on; 0 chooses a free one and logs it")
    listen: tuple[str, ...] = _setting(
        ENDPOINT, (), "a Twisted endpoint to listen on instead of host and port (tcp:, unix:, ssl:, systemd:)",
        shown="host and port", repeatable=True,
    )  # fmt: skip
    upstream: str | None = _setting(
        WEB_ADDRESS, None,
        "the simple index that root/pypi mirrors; if root/pypi exists already, its mirror_url is changed to this",
        shown="the Python Package Index, or what root/pypi mirrors already",
    )  # fmt: skip
    no_root_pypi: bool = _setting(FLAG, False, "do not create the index root/pypi when the server directory is initialised")
    root_passwd: str | None = _setting(
        PASSWORD, None,
        "the password of root in a new server directory; with a blank one, root can log in from this machine only",
        shown="the blank password",
    )  # fmt: skip
    root_passwd_hash: str | None = _setting(
        PASSWORD_HASH, None, "the hash of root's password in a new server directory, instead of root-passwd", shown="none"
    )
    offline: bool = _setting(FLAG, False, "send no requests to upstreams, and list only stored files")
    mirror_cache_expiry: int = _setting(
        whole_number(0, _YEAR),
        1800,
        "how long a mirrored page is served before it is revalidated",
        unit="seconds",
    )
    request_timeout: float = _setting(
        seconds(3600, zero=False), 5.0, "how long an upstream may be silent, before its first byte and between two bytes",
        unit="seconds", shown="5",
    )  # fmt: skip
    outside_url: str | None = _setting(
        OUTSIDE_ADDRESS, None, "the address of this server as users see it, if requests do not have it",
        shown="from each request",
    )  # fmt: skip
    trusted_proxy: tuple[Network, ...] = _setting(
        NETWORK, (),
        "the proxies in front of this server whose X-Outside-Url, X-Real-IP, Forwarded and X-Forwarded-* headers are trusted",
        shown="none, except connections to a unix socket", repeatable=True,
    )  # fmt: skip
    forbidden_networks: tuple[str, ...] = _setting(
        NETWORK_OR_NONE, (), "networks that this server never connects to for a mirror_url; replaces the default",
        shown="link-local addresses and those of cloud metadata services", repeatable=True,
    )  # fmt: skip
    secretfile: str | None = _setting(
        PATH, None, "the file with the secret that signs login tokens; replicas need that of their primary",
        shown="secret in the server directory",
    )  # fmt: skip
    login_hours: float = _setting(hours(8760), 10.0, "how long a login is valid", unit="hours", shown="10")
    bcrypt_cost: int = _setting(BCRYPT_COST, 12, "the cost of bcrypt for new passwords; each step doubles the time to verify one")
    restrict_modify: str | None = _setting(
        PRINCIPALS, None, "the only users who may create, change and delete users and indexes",
        shown="root and owners, and everybody may create users",
    )  # fmt: skip
    max_upload_size: int = _setting(
        BYTES, 4 << 30, "the largest request body that is accepted; a larger one is refused with 413", unit="bytes", shown="4G"
    )
    primary_url: str | None = _setting(
        PRIMARY_ADDRESS, None,
        "the primary that this server follows as a replica; stored, so it is needed again only to change it",
        shown="none: this server is a primary",
    )  # fmt: skip
    history: str = _setting(
        choice("all", "tail"), "all",
        "which part of the changelog a new replica of a large primary fetches: all of it, in the background, or only the end",
    )  # fmt: skip
    proxy_timeout: float = _setting(
        seconds(3600, zero=False), 30.0, "how long a replica waits for the change of a request that it forwarded",
        unit="seconds", shown="30",
    )  # fmt: skip
    workers: int = _setting(
        whole_number(0, 127),
        0,
        "how many worker processes serve pages and files beside the first process; one for each core is useful",
    )
    log_level: str = _setting(choice("debug", "info", "warn", "error", "critical"), "info", "the lowest level to log")
    access_log: str | None = _setting(
        PATH_OR_OUTPUT, None, "the file for the access log, with a line for each request; - for the standard output",
        shown="requests are not logged",
    )  # fmt: skip
    log_format: Literal["text", "json"] = _setting(
        choice("text", "json"), "text", "the format of both logs: lines of text, or a JSON object on each line"
    )
    ca_file: str | None = _setting(
        READABLE_FILE,
        None,
        "a PEM file with authorities to trust for upstreams, beside the system's",
        shown="none",
    )
    metrics_from: tuple[Network, ...] = _setting(
        NETWORK, (), "the networks from which /+metrics may be read without a login, beside this machine",
        shown="none", repeatable=True,
    )  # fmt: skip
    disk_reserve: int = _setting(
        BYTES, 256 << 20, "the free disk space below which /+ready reports that this server is not ready",
        unit="bytes", shown="256M",
    )  # fmt: skip
    max_connections: int | None = _setting(
        whole_number(1, 1_000_000), None, "the largest number of connected clients; further ones wait",
        shown="half the number of file descriptors, at most 10000",
    )  # fmt: skip
    stop_timeout: float = _setting(
        seconds(3600, zero=True), 10.0, "how long a stopping server may take to finish the requests under way",
        unit="seconds", shown="10",
    )  # fmt: skip
    lenient_accept: bool = _setting(
        FLAG, False, "send a page as text/html, instead of 406, if a client accepts none of the available types"
    )
    replicate_files: str = _setting(
        FILES_TO_REPLICATE, "all",
        "which files a replica fetches in advance: all, on-demand (none), or those of some indexes (root/pypi,alice/dev)",
    )  # fmt: skip
    replicate_at_once: int = _setting(whole_number(1, 64), 4, "how many requests for files a replica sends at the same time")
    file_search_path: str | None = _setting(
        PATH, None, "a folder in which a replica looks for files, by path or by name, before it requests them from its primary",
        shown="none",
    )  # fmt: skip
    page_cache_size: int = _setting(BYTES, 16 << 20, "the memory for rendered pages, in each process", unit="bytes", shown="16M")


def _rows() -> Iterator[Setting]:
    for field in attrs.fields(Settings):
        yield Setting(name=field.name.replace("_", "-"), default=field.default, **field.metadata[_KEY])


TABLE: Sequence[Setting] = tuple(_rows())
"""Every setting, in the order of the documentation."""

CONFIG = Setting("config", READABLE_FILE, None, "a TOML file with any of these settings", default_text="none")
"""The path of the file; the only setting that cannot be in the file."""


def _parse(setting: Setting, text: str, source: str) -> Any:
    try:
        return setting.kind.parse(text)
    except ValueError:
        shown = _NOT_SHOWN if setting.kind.secret else text
        raise invalid_setting(setting.name, shown, source, setting.kind.allowed) from None


def _parse_all(setting: Setting, texts: Sequence[str], source: str) -> Any:
    if setting.repeatable:
        return tuple(value for text in texts if (value := _parse(setting, text, source)) is not None)
    return _parse(setting, texts[-1], source)


def _did_you_mean(word: str, words: Iterable[str], *, before: str = "") -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f" (did you mean {before}{close[0]}?)" if close else ""


def _file_text(value: object, setting: Setting, source: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    shown = _NOT_SHOWN if setting.kind.secret else str(value)
    raise invalid_setting(setting.name, shown, source, "it must be text, a number or true or false")


def _from_file(path: str) -> dict[str, Any]:
    """Return the settings in the TOML file at ``path``, by field."""
    source = f"the file {path}"
    names = {setting.name: setting for setting in TABLE}
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise invalid_setting(CONFIG.name, path, source, f"it must be a TOML file that can be read: {error}") from None
    found: dict[str, Any] = {}
    for name, value in content.items():
        setting = names.get(name)
        if setting is None:
            hint = _NO_TABLE if isinstance(value, dict) else _did_you_mean(name.replace("_", "-"), list(names))
            raise invalid_setting(name, str(value), source, f"there is no such setting{hint}")
        values = value if setting.repeatable and isinstance(value, list) else [value]
        found[setting.field] = _parse_all(setting, [_file_text(item, setting, source) for item in values], source)
    return found


def load_settings(command_line: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Settings:
    """Return the settings from ``command_line`` (name to values, in order), ``environment`` and the file that either names.

    Raises ``TwistpiError``, which names the setting, its value, where that comes from and what is allowed.
    """
    given: dict[str, tuple[Sequence[str], str]] = {}
    for setting in (CONFIG, *TABLE):
        if setting.variable in environment:
            text = environment[setting.variable]
            given[setting.name] = (text.split() if setting.repeatable else [text], f"the environment variable {setting.variable}")
        if setting.name in command_line:
            given[setting.name] = (command_line[setting.name], f"the command line, --{setting.name}")
    values: dict[str, Any] = {}
    if CONFIG.name in given:
        values = _from_file(_parse_all(CONFIG, *given.pop(CONFIG.name)))
    for setting in TABLE:
        if setting.name in given:
            values[setting.field] = _parse_all(setting, *given[setting.name])
    settings = Settings(**values)
    if settings.root_passwd is not None and settings.root_passwd_hash is not None:
        raise invalid_setting("root-passwd-hash", _NOT_SHOWN, "the settings", "it must not be given together with root-passwd")
    return settings


def words_of(settings: Settings, names: Iterable[str]) -> dict[str, list[str]]:
    """Return those of the settings ``names`` that are not at their default, as ``load_settings`` reads them."""
    rows = {setting.name: setting for setting in TABLE}
    found: dict[str, list[str]] = {}
    for name in names:
        value = getattr(settings, rows[name].field)
        if value != rows[name].default:
            values = value if rows[name].repeatable else [value]
            found[name] = [str(one).lower() if rows[name].is_flag else str(one) for one in values]
    return found


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each ``TWISTPI_*`` variable that is no setting, most likely a typing error.

    They are not refused, because container orchestration creates variables with such names.
    """
    known = {setting.variable.removeprefix(_VARIABLE) for setting in (CONFIG, *TABLE)}
    given = {name.removeprefix(_VARIABLE) for name in environment if name.startswith(_VARIABLE)}
    return [
        f"the environment variable {_VARIABLE}{name} is no setting{_did_you_mean(name, known, before=_VARIABLE)}"
        for name in sorted(given - known)
    ]
