"""Changes of the tables of downloads, each in one transaction: counts are added, summed when they are old, and sent to a primary.

Days older than a limit are summed by month, and months older than two years for all time, without their installers.  So the file
stays small: it has at most ``MOST_ROWS`` rows of days and months.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

import attrs
import orjson

from twistpi.model.names import version_of_filename
from twistpi.statistics.agents import OTHERS, UNKNOWN, Agent
from twistpi.statistics.tally import Row

MOST_ROWS: Final = 1_000_000
"""Rows of downloads, about 45 MB; beyond, days are summed earlier."""
MOST_AGENTS: Final = 300
"""Installers in the file; further ones count as ``OTHERS``, so that no client can fill it with names."""
MOST_UNSENT: Final = 200_000
"""Rows that wait for a primary; beyond, the oldest day is not sent."""
_MONTHS: Final = 24
"""Months that are kept."""
_BATCH: Final = 1_500
"""Rows of a batch, which has less than a megabyte."""
_MOST_SENDERS: Final = 1_000
_DAY, _MONTH = 10, 7
"""Characters of a period."""


@attrs.frozen
class Batch:
    """Downloads that a replica counted, as they are sent to its primary."""

    ledger: str
    """Of the file that they were counted in: another one begins with another sequence."""
    sequence: int
    """Grows by one with each batch, so that none counts twice."""
    content: str
    """A JSON list of a day and a row, for each row."""


def add_rows(connection: sqlite3.Connection, day: str, rows: Iterable[Row], *, is_sent: bool = False) -> None:
    """Count ``rows`` for ``day``; ``is_sent`` says whether they are to be sent to the primary."""
    tables = ("downloads", "unsent") if is_sent else ("downloads",)
    agents: dict[Agent, int] = {}
    for index, project, filename, installer, version, python, number in rows:
        agent = Agent(str(installer), str(version), str(python))
        if agent not in agents:
            agents[agent] = _agent_id(connection, agent)
        file = _file_id(connection, str(index), str(project), str(filename))
        for table in tables:
            connection.execute(
                f"INSERT INTO {table} (file, period, agent, number) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET number = number + excluded.number",
                (file, day, agents[agent], number),
            )


def _file_id(connection: sqlite3.Connection, index: str, project: str, filename: str) -> int:
    sought = "SELECT id FROM files WHERE index_name = ? AND project = ? AND filename = ?"
    row = connection.execute(sought, (index, project, filename)).fetchone()
    if row is not None:
        return int(row[0])
    version = version_of_filename(filename, project) or ""
    made = "INSERT INTO files (index_name, project, filename, version) VALUES (?, ?, ?, ?) RETURNING id"
    return int(connection.execute(made, (index, project, filename, version)).fetchone()[0])


def _agent_id(connection: sqlite3.Connection, agent: Agent) -> int:
    sought = "SELECT id FROM agents WHERE installer = ? AND version = ? AND python = ?"
    values = (agent.installer, agent.version, agent.python)
    row = connection.execute(sought, values).fetchone()
    if row is None:
        if agent not in (OTHERS, UNKNOWN) and _count(connection, "agents") >= MOST_AGENTS:
            return _agent_id(connection, OTHERS)
        made = "INSERT INTO agents (installer, version, python) VALUES (?, ?, ?) RETURNING id"
        row = connection.execute(made, values).fetchone()
    return int(row[0])


def forget_indexes(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Delete all that was counted of the files of the indexes ``names``."""
    for name in names:
        for table in ("downloads", "unsent"):
            connection.execute(f"DELETE FROM {table} WHERE file IN (SELECT id FROM files WHERE index_name = ?)", (name,))
        connection.execute("DELETE FROM files WHERE index_name = ?", (name,))


# Old counts -----------------------------------------------------------------------------------------------------------


def sum_old(connection: sqlite3.Connection, today: date, days: int, most: int = MOST_ROWS) -> None:
    """Sum what is older than ``days`` by month, and old months for all time; sooner where there are more rows than ``most``."""
    _sum_months(connection, _month_before(today, _MONTHS))
    while True:
        _sum_days(connection, (today - timedelta(days)).isoformat())
        if _count(connection, "downloads") <= most:
            break
        if days == 0:
            _sum_months(connection, today.isoformat()[:_MONTH])
            break
        days //= 2
    while _count(connection, "unsent") > MOST_UNSENT:
        connection.execute("DELETE FROM unsent WHERE period = (SELECT min(period) FROM unsent)")
    connection.execute("DELETE FROM agents WHERE id NOT IN (SELECT agent FROM downloads UNION SELECT agent FROM unsent)")


def _sum_days(connection: sqlite3.Connection, first: str) -> None:
    """Sum days before ``first`` by month."""
    connection.execute(
        "INSERT INTO downloads (file, period, agent, number)"
        " SELECT file, substr(period, 1, ?2), agent, sum(number) FROM downloads"
        " WHERE length(period) = ?3 AND period < ?1 GROUP BY 1, 2, 3"
        " ON CONFLICT DO UPDATE SET number = number + excluded.number",
        (first, _MONTH, _DAY),
    )
    connection.execute("DELETE FROM downloads WHERE length(period) = ? AND period < ?", (_DAY, first))


def _sum_months(connection: sqlite3.Connection, first: str) -> None:
    """Sum months before ``first`` for all time, and forget which installers there were."""
    old = "length(period) = ? AND period < ?"
    if connection.execute(f"SELECT 1 FROM downloads WHERE {old} LIMIT 1", (_MONTH, first)).fetchone() is None:
        return
    connection.execute(
        "INSERT INTO downloads (file, period, agent, number)"
        f" SELECT file, '', ?, sum(number) FROM downloads WHERE {old} GROUP BY file"
        " ON CONFLICT DO UPDATE SET number = number + excluded.number",
        (_agent_id(connection, UNKNOWN), _MONTH, first),
    )
    connection.execute(f"DELETE FROM downloads WHERE {old}", (_MONTH, first))


def _month_before(today: date, months: int) -> str:
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    return f"{year:04d}-{month + 1:02d}"


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# Between servers ------------------------------------------------------------------------------------------------------


def forget_unsent(connection: sqlite3.Connection) -> None:
    """Send nothing any more: this server is a primary."""
    connection.execute("DELETE FROM unsent")
    connection.execute("DELETE FROM batch")


def next_batch(connection: sqlite3.Connection) -> Batch | None:
    """Return the batch that was not acknowledged, or a new one of what is not sent yet; None without any."""
    ledger, last = connection.execute("SELECT ledger, sequence FROM about").fetchone()
    row = connection.execute("SELECT sequence, content FROM batch").fetchone()
    if row is not None:
        return Batch(ledger, *row)
    rows = connection.execute(
        "SELECT period, index_name, project, filename, installer, agents.version, python, number, file, agent FROM unsent"
        " JOIN files ON files.id = file JOIN agents ON agents.id = agent ORDER BY period, file, agent LIMIT ?",
        (_BATCH,),
    ).fetchall()
    if not rows:
        return None
    batch = Batch(ledger, last + 1, orjson.dumps([row[:-2] for row in rows]).decode())
    connection.executemany(
        "DELETE FROM unsent WHERE period = ? AND file = ? AND agent = ?", [(row[0], *row[-2:]) for row in rows]
    )
    connection.execute("UPDATE about SET sequence = ?", (batch.sequence,))
    connection.execute("INSERT INTO batch VALUES (?, ?)", (batch.sequence, batch.content))
    return batch


def acknowledge(connection: sqlite3.Connection, sequence: int) -> None:
    """Note that the primary counted the batch ``sequence``."""
    connection.execute("DELETE FROM batch WHERE sequence = ?", (sequence,))


def receive(
    connection: sqlite3.Connection,
    sender: str,
    sequence: int,
    days: Iterable[tuple[str, list[Row]]],
    now: float,
    *,
    is_sent: bool,
) -> bool:
    """Count the batch ``sequence`` of ``sender``, rows by day; return False if that was done before."""
    row = connection.execute("SELECT sequence FROM senders WHERE sender = ?", (sender,)).fetchone()
    if row is not None and sequence <= row[0]:
        return False
    for day, rows in days:
        add_rows(connection, day, rows, is_sent=is_sent)
    connection.execute("INSERT OR REPLACE INTO senders VALUES (?, ?, ?)", (sender, sequence, int(now)))
    connection.execute(
        "DELETE FROM senders WHERE sender NOT IN (SELECT sender FROM senders ORDER BY at DESC LIMIT ?)", (_MOST_SENDERS,)
    )
    return True
