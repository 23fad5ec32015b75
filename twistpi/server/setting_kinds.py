"""The kinds of settings: each parses text to a value, or raises ``ValueError``, and says what it allows.

Command line, environment and file all provide text, so a value means the same in each of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

import attrs

from twistpi.auth.passwords import is_password_hash
from twistpi.model.errors import InvalidName, TwistpiError
from twistpi.model.names import IndexName
from twistpi.model.text import parse_bytes
from twistpi.model.urls import path_of
from twistpi.rules.replication import BlobPolicy
from twistpi.s3.address import parse_bucket

NONE: Final = "none"
"""In a list of networks: no network at all."""
OUTPUT: Final = "-"
"""In the place of a path: the standard output."""
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


Network = IPv4Network | IPv6Network
_Value = TypeVar("_Value", covariant=True)
_Word = TypeVar("_Word", bound=str)


@attrs.frozen
class Kind(Generic[_Value]):
    """A kind of value."""

    placeholder: str
    """The placeholder for the value in a usage text; empty for a flag."""
    allowed: str
    """What is allowed, for the error message and the documentation: the end of a sentence."""
    parse: Callable[[str], _Value]
    """Text to the value; raises ``ValueError``."""
    unit: str = ""
    secret: bool = False
    """Whether an error message must not contain the value."""


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(text)
    return text


def _flag(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError(text)
    return text.lower() in _YES


def _path(text: str) -> str:
    return os.path.abspath(os.path.expanduser(_text(text)))


def _readable_file(text: str) -> str:
    path = _path(text)
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise ValueError(path)
    return path


def _web_address(text: str) -> str:
    parts = urlsplit(_text(text))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or " " in text:
        raise ValueError(text)
    if parts.port == 0:  # reading the port checks it
        raise ValueError(text)
    return text


def _feed(text: str) -> str:
    if text.startswith(("http://", "https://")):
        return _web_address(text)
    return _path(path_of(text) if text.startswith("file:") else text)


def _primary_address(text: str) -> str:
    if text.startswith("unix:/"):
        return _text(text)
    return _web_address(text).rstrip("/")


def _database_address(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError(text)
    return _text(text)


def _bucket_address(text: str) -> str:
    try:
        parse_bucket(text)
    except TwistpiError as error:
        raise ValueError(text) from error
    return text


def _s3_endpoint(text: str) -> str:
    try:
        parse_bucket("s3://any", endpoint=text)
    except TwistpiError as error:
        raise ValueError(text) from error
    return text.rstrip("/")


def _endpoint(text: str) -> str:
    if not re.match(r"[a-zA-Z][a-zA-Z0-9_]*:.", _text(text)):
        raise ValueError(text)
    return text


def _principals(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    if not all(re.match(r":?[^\s:+/]+\Z", name) and name.isprintable() for name in names):
        raise ValueError(text)
    return ",".join(names)


def _password_hash(text: str) -> str:
    if not is_password_hash(text):
        raise ValueError(text)
    return text


def _network(text: str) -> Network | None:
    return None if text.lower() == NONE else ip_network(text, strict=False)


def _index(text: str) -> str:
    try:
        return str(IndexName.parse(text))
    except InvalidName as error:
        raise ValueError(text) from error


_URL: Final = "it must be an http:// or https:// address without query and fragment"
_ENDPOINT: Final = "it must be a Twisted endpoint such as tcp:3141, unix:/run/twistpi.sock or systemd:INET:index=0"
_HASH: Final = "it must be a hash of passlib's bcrypt_sha256 ($bcrypt-sha256$v=2,t=2b,r=12$…$…), as in a server's changelog"
_FILES: Final = "it must be all, on-demand, or indexes separated by commas, such as root/pypi,alice/dev"
_NETWORK: Final = "it must be an IP address, a network such as 10.0.0.0/8, or none"

TEXT = Kind("TEXT", "it must not be empty or hold control characters", _text)
FLAG = Kind("", "it must be true or false", _flag)
PATH = Kind("PATH", "it must be a path", _path)
PATH_OR_OUTPUT = Kind(
    "PATH", "it must be a path, or - for the standard output", lambda text: OUTPUT if text == OUTPUT else _path(text)
)
READABLE_FILE = Kind("PATH", "it must be a file that can be read", _readable_file)
BYTES = Kind("BYTES", "it must be a whole number, optionally followed by K, M, G or T", parse_bytes, "bytes")
WEB_ADDRESS = Kind("URL", _URL, _web_address)
FEED = Kind("URL|PATH", f"{_URL}, or a path", _feed)
OUTSIDE_ADDRESS = Kind("URL", _URL, lambda text: _web_address(text).rstrip("/"))
PRIMARY_ADDRESS = Kind("URL", f"{_URL}, or unix:/path", _primary_address)
DATABASE_ADDRESS = Kind(
    "URL",
    "it must be the address of a PostgreSQL database, such as postgresql://user@host/twistpi",
    _database_address,
    secret=True,  # it may have a password
)
BUCKET_ADDRESS = Kind("URL", "it must be the address of an S3 bucket, such as s3://bucket/prefix", _bucket_address)
S3_ENDPOINT = Kind("URL", "it must be http://HOST:PORT or https://HOST, without access keys", _s3_endpoint)
INDEX = Kind("USER/INDEX", "it must be an index such as root/pypi", _index)
ENDPOINT = Kind("ENDPOINT", _ENDPOINT, _endpoint)
PRINCIPALS = Kind("NAMES", "it must be users and :groups, separated by commas", _principals)
PASSWORD = Kind("PASSWORD", "it may be any text; others can see a command line, so use another place", str, secret=True)
PASSWORD_HASH = Kind("HASH", _HASH, _password_hash, secret=True)
FILES_TO_REPLICATE = Kind("FILES", _FILES, lambda text: str(BlobPolicy.parse(text.strip())))
NETWORK = Kind("NETWORK", _NETWORK, _network)
"""None means no network and adds nothing to a list."""
NETWORK_OR_NONE = Kind("NETWORK", _NETWORK, lambda text: str(_network(text) or NONE))
"""For a list with a default, in which "no network" differs from an empty list."""


def whole_number(smallest: int, largest: int, unit: str = "") -> Kind[int]:
    """Whole numbers from ``smallest`` to ``largest``, both included."""

    def parse(text: str) -> int:
        number = int(text)
        if not smallest <= number <= largest:
            raise ValueError(text)
        return number

    return Kind("NUMBER", f"it must be a whole number from {smallest} to {largest}", parse, unit)


def _fraction(unit: str, is_allowed: Callable[[float], bool], allowed: str) -> Kind[float]:
    def parse(text: str) -> float:
        number = float(text)
        if not is_allowed(number):
            raise ValueError(text)
        return number

    return Kind(unit.upper(), f"it must be a number {allowed}", parse, unit)


def seconds(largest: float, *, zero: bool = False) -> Kind[float]:
    """Seconds, fractions allowed, up to ``largest``; ``zero`` says whether 0 is fine."""
    allowed = f"{'from 0' if zero else 'above 0'} to {largest:g}"
    return _fraction("seconds", lambda number: 0 < number <= largest or (zero and number == 0), allowed)


def hours(largest: float) -> Kind[float]:
    """Hours, fractions allowed, up to ``largest``; at least a second."""
    return _fraction("hours", lambda number: 1 / 3600 <= number <= largest, f"above 0 to {largest:g}")


def days(largest: float) -> Kind[float]:
    """Days, fractions allowed, from 0 to ``largest``."""
    return _fraction("days", lambda number: 0 <= number <= largest, f"from 0 to {largest:g}")


def choice(*names: _Word) -> Kind[_Word]:
    """One of ``names``, in any case."""

    def parse(text: str) -> _Word:
        for name in names:
            if name == text.lower():
                return name
        raise ValueError(text)

    return Kind("WORD", f"it must be one of {', '.join(names)}", parse)
