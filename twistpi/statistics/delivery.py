"""Downloads that a replica counted, in the form in which they are sent to its primary.

A batch has the sequence number of the replica's file, and is sent again until the primary says that it counted it; the primary
counts each number once (``download_tables.receive``).
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from twistpi.model.records import Json
from twistpi.statistics.download_tables import Batch
from twistpi.statistics.tally import Row, read_rows

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LEDGER: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


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
