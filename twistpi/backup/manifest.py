"""Manifests: what a run of ``twistpi backup`` has saved, and which manifests are kept.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs
import orjson

from twistpi.changelog.format import segment_start
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.records import Json

FOLDER: Final = "manifests"
FORMAT: Final = 1
COMPACTED_FORMAT: Final = 2
"""The format of manifests whose log begins with a summary; versions that know only the first format cannot restore these."""
_NAME: Final = re.compile(r"([0-9]{8}T[0-9]{6}Z)-([0-9]{20})\.json")
_TIME: Final = "%Y%m%dT%H%M%SZ"
_KEEP: Final = re.compile(r"([1-9][0-9]{0,5})(d?)")
_CHAIN: Final = re.compile(r"[0-9a-f]{64}")
_ID: Final = re.compile(r"[0-9a-f]{32}")


@attrs.frozen(order=True)
class ManifestName:
    """What the name of a manifest tells; later ones are greater."""

    serial: int
    """Of the last entry in the backup."""
    at: datetime
    """When the run ended; UTC."""

    def __str__(self) -> str:
        return f"{self.at:{_TIME}}-{self.serial:020d}.json"

    @property
    def path(self) -> str:
        """Its path in the backup."""
        return f"{FOLDER}/{self}"


def manifest_names(names: Iterable[str]) -> list[ManifestName]:
    """Return the manifests among the ``names`` of files, in order; other names are ignored."""
    found = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(ManifestName(int(match[2]), datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)) for match in found)


@attrs.frozen
class MissingFile:
    """A blob that belongs to a backup and is not in it."""

    digits: str
    """The 16 hexadecimal digits of its address."""
    filename: str
    is_private: bool
    """Whether it was uploaded, so that no upstream has it."""
    reason: str


@attrs.frozen
class Beginning:
    """Where a log begins."""

    base: Position = BEGINNING
    """The line before its first one."""
    summary: str | None = None
    """The SHA-256 of the summary that stands for what is before; None without one."""


@attrs.frozen
class Manifest:
    """What a run has saved."""

    log_id: str
    node_id: str
    """Of the server."""
    end: Position
    """The last line of the log in the backup."""
    files: int
    """Blobs that this run copied."""
    size: int
    """Bytes of those."""
    missing: tuple[MissingFile, ...] = ()
    """What the server named, but did not have; the next run looks for it again."""
    has_all_missing: bool = True
    """False if there was more than ``missing`` lists; the next run then looks for every file."""
    begin: Beginning = Beginning()
    """Of the log in this backup: with its first entry, or with a summary."""
    epoch: tuple[int, str, int] | None = None
    """Number, primary and first serial of the newest epoch in it (1, empty and 0 for the first); None in older manifests."""

    def has(self, serial: int) -> bool:
        """Return whether the entry ``serial`` is in the log of this backup, so that the server can be restored as after it."""
        return self.begin.base.serial < serial <= self.end.serial

    def content(self) -> bytes:
        """Return the manifest as JSON."""
        end = attrs.asdict(self.end)
        fields = {**attrs.asdict(self, filter=lambda field, _value: field.name not in ("end", "begin")), **end, "format": FORMAT}
        if self.begin.base != BEGINNING:
            base = {"chain": self.begin.base.chain, "serial": self.begin.base.serial, "summary": self.begin.summary}
            fields |= {"base": base, "format": COMPACTED_FORMAT}
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def read_manifest(url: str, name: ManifestName, content: bytes) -> Manifest:
    """Return the manifest ``name`` of the backup ``url``; raise ``TwistpiError`` if it is damaged, or of a newer version."""
    try:
        fields = orjson.loads(content)
        if fields["format"] not in (FORMAT, COMPACTED_FORMAT):
            known = f"this version of twistpi knows {FORMAT} and {COMPACTED_FORMAT} only"
            text = f"has the format {fields['format']}, and {known}; use a newer one"
            raise TwistpiError(f"The manifest {name} of the backup {url} {text}.")
        end = Position(*(fields[key] for key in ("serial", "chain", "segment", "offset")))
        fits = _CHAIN.fullmatch(end.chain) and _ID.fullmatch(fields["log_id"]) and end.serial == name.serial
        if not fits or not all(isinstance(number, int) and number > 0 for number in (end.serial, end.segment, end.offset)):
            raise ValueError("its values cannot be")
        missing = tuple(MissingFile(**one) for one in fields["missing"])
        counts = fields["files"], fields["size"]
        begin = _read_beginning(fields["base"]) if fields["format"] == COMPACTED_FORMAT else Beginning()
        epoch = None if fields.get("epoch") is None else _read_epoch(*fields["epoch"])
        return Manifest(fields["log_id"], fields["node_id"], end, *counts, missing, fields["has_all_missing"], begin, epoch)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TwistpiError(
            f"The manifest {name} of the backup {url} is damaged ({type(error).__name__}: {error}). Remove that file:"
            " the one before it is used then. Nothing was changed."
        ) from None


def _read_beginning(base: Mapping[str, Json]) -> Beginning:
    serial, chain, summary = (base[key] for key in ("serial", "chain", "summary"))
    if not (isinstance(serial, int) and serial > 0 and _CHAIN.fullmatch(chain) and _CHAIN.fullmatch(summary)):
        raise ValueError("its base cannot be")
    return Beginning(segment_start(serial + 1, chain), summary)


def _read_epoch(number: int, node_id: str, serial: int) -> tuple[int, str, int]:
    return number, node_id, serial


@attrs.frozen
class Keep:
    """How long manifests are kept: the ``count`` newest ones, or those of so many ``days``."""

    count: int | None = None
    days: int | None = None

    @classmethod
    def parse(cls, text: str) -> Keep:
        """Return what ``48`` or ``30d`` says; raise ``ValueError``."""
        match = _KEEP.fullmatch(text.strip())
        if match is None:
            raise ValueError(text)
        return cls(days=int(match[1])) if match[2] else cls(count=int(match[1]))

    def expired(self, names: Sequence[ManifestName], now: datetime) -> list[ManifestName]:
        """Return those of ``names`` (in order) that are too old; never the newest one."""
        if self.count is not None:
            return list(names[: -self.count])
        since = now - timedelta(days=self.days or 0)
        return [name for name in names[:-1] if name.at < since]
