"""Sends the downloads that a replica counted to its primary, and reads them there.

A batch has the sequence number of the replica's file, and is sent again until the primary says that it counted it; the primary
counts each number once (``download_tables.receive``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

import attrs
import orjson
from twisted.logger import Logger

from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json
from twistpi.statistics.download_tables import Batch
from twistpi.statistics.tally import Row, read_rows

PATH: Final = "/+relay/downloads"
_PATIENCE: Final = 30.0
"""Seconds that the primary has to answer."""
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LEDGER: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_log = Logger()


class PrimaryAnswer(Protocol):
    """An answer of the primary."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body."""


class PrimaryConnection(Protocol):
    """What ``replication.primary.Primary`` offers."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        patience: float | None = None,
    ) -> PrimaryAnswer:
        """Return the answer to one signed request; raise ``PrimaryUnreachable``."""


@attrs.define(eq=False)
class PrimaryDelivery:
    """Sends batches to the primary; see ``recorder.Delivery``."""

    _primary: PrimaryConnection

    async def send(self, batch: Batch) -> None:
        """Return when the primary has counted ``batch``, or will never take it; raise ``TwistpiError`` when it may later."""
        answer = await self._primary.ask(
            "POST", PATH, headers={"Content-Type": "application/json"}, body=encode_batch(batch), patience=_PATIENCE
        )
        said = await answer.read(64 * 1024)
        if answer.status == 400:
            _log.error("The primary does not understand downloads of this replica, which are lost: {said}", said=said.decode())
        elif answer.status != 200:
            raise TwistpiError(f"the primary answered {answer.status}", 502)


def encode_batch(batch: Batch) -> bytes:
    """Return ``batch`` as it is sent."""
    return orjson.dumps({"ledger": batch.ledger, "sequence": batch.sequence, "rows": orjson.Fragment(batch.content)})


def read_batch(batch: Json) -> tuple[Batch, list[tuple[str, Row]]]:
    """Return a batch that was sent, without its content, and its rows, each with its day; raise ``ValueError``."""
    if not isinstance(batch, dict) or not isinstance(batch.get("rows"), list):
        raise ValueError("it has no rows")
    ledger, sequence = batch.get("ledger"), batch.get("sequence")
    if not isinstance(ledger, str) or not _LEDGER.fullmatch(ledger):
        raise ValueError("it has no ledger")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 0 < sequence < 2**63:
        raise ValueError("it has no sequence number")
    rows: list[tuple[str, Row]] = []
    for line in batch["rows"]:
        if not isinstance(line, list) or not line or not isinstance(line[0], str) or not _DAY.fullmatch(line[0]):
            raise ValueError("a row has no day")
        rows.append((line[0], line[1:]))
    read_rows([row for _, row in rows])
    return Batch(ledger, sequence, ""), rows
