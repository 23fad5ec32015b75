"""What a cluster has in its database, and how that is made and brought up to date.

Every name begins with ``twistpi_``, in the first schema of the user's ``search_path``.  The user who makes or upgrades it needs
the privilege CREATE there; nodes need no more than ``PRIVILEGES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, LiteralString

import attrs
import psycopg
from psycopg import errors

from twistpi.cluster.database import Row, database_name, first_line, open_connection, remedy_for
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import NO_CHAIN

VERSION: Final = 2
"""Of the schema that this code works with."""
OLDEST_SERVER: Final = 130000
"""PostgreSQL 13."""
FARTHEST_CLOCK: Final = 30.0
"""Seconds by which the clock of a node may differ from that of the database."""
_LOCK: Final = 7310_8405
"""The key of the advisory lock under which the schema is made and upgraded."""

_FIRST: Final[LiteralString] = """
CREATE TABLE twistpi_cluster (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version integer NOT NULL,
    log_id text NOT NULL,
    secret text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE twistpi_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    serial bigint NOT NULL,
    chain text NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE twistpi_lines (
    serial bigint PRIMARY KEY,
    chain text NOT NULL,
    segment bigint NOT NULL,
    segment_end bigint NOT NULL,
    batch uuid NOT NULL,
    body bytea NOT NULL
);
CREATE SEQUENCE twistpi_lease_tokens;
CREATE TABLE twistpi_leases (
    name text PRIMARY KEY,
    owner text NOT NULL,
    token bigint NOT NULL,
    expires timestamptz NOT NULL,
    done_at timestamptz,
    note text NOT NULL DEFAULT ''
);
CREATE INDEX twistpi_leases_expire ON twistpi_leases (expires);
"""
_SECOND: Final[LiteralString] = """
ALTER TABLE twistpi_cluster ALTER COLUMN secret TYPE bytea USING convert_to(secret, 'UTF8');
CREATE TABLE twistpi_move (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    is_leaving boolean NOT NULL,
    place text NOT NULL,
    files text NOT NULL DEFAULT '',
    begun_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON twistpi_move TO PUBLIC;
CREATE TABLE twistpi_beginning (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    serial bigint NOT NULL,
    chain text NOT NULL,
    summary text NOT NULL
);
CREATE TABLE twistpi_summary (
    number integer PRIMARY KEY,
    content bytea NOT NULL
);
CREATE TABLE twistpi_nodes (
    node_id text PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    facts text NOT NULL
);
"""
STEPS: Final[tuple[LiteralString, ...]] = (_FIRST, _SECOND)
"""What makes each version of the one before."""

NEEDED: Final[Mapping[str, Sequence[str]]] = {
    "twistpi_cluster": ("SELECT",),
    "twistpi_move": ("SELECT",),
    "twistpi_beginning": ("SELECT",),
    "twistpi_summary": ("SELECT",),
    "twistpi_head": ("SELECT", "UPDATE"),
    "twistpi_lines": ("SELECT", "INSERT"),
    "twistpi_leases": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "twistpi_nodes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "twistpi_lease_tokens": ("USAGE",),
}
"""What a node does to each relation."""
PRIVILEGES: Final = (
    "GRANT USAGE ON SCHEMA {schema} TO {role};",
    "GRANT SELECT ON twistpi_cluster, twistpi_beginning, twistpi_summary TO {role};",
    "GRANT SELECT, UPDATE ON twistpi_head TO {role};",
    "GRANT SELECT, INSERT ON twistpi_lines TO {role};",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON twistpi_leases, twistpi_nodes TO {role};",
    "GRANT USAGE ON SEQUENCE twistpi_lease_tokens TO {role};",
)
"""What a node needs once the schema is there."""


@attrs.frozen
class ClusterFacts:
    """What is true for all nodes of a cluster."""

    log_id: str
    """32 hexadecimal digits that tell this log from every other."""
    secret: bytes = attrs.field(repr=False)
    """What signs login tokens, and requests between servers."""


def prepare(url: str, entropy: Callable[[int], bytes], now: Callable[[], float], *, make: bool = True) -> ClusterFacts:
    """Return the facts of the cluster whose database is at ``url``; make or upgrade the schema where that is needed.

    With ``make`` false an empty database is refused.  ``now`` is the time in Unix seconds.  Blocking.  Raise ``TwistpiError``,
    which says what to do, having changed nothing.
    """
    with explaining(url), open_connection(url, autocommit=False) as connection:
        check_server(url, connection, now)
        if not make and schema_version(connection) is None:
            raise refusal(url, "there is no log in it; name the database of a cluster")
        bring_up_to_date(url, connection, lambda: ClusterFacts(entropy(16).hex(), entropy(32).hex().encode()))
        _check_not_moving(url, connection)
        return read_facts(connection)


@contextmanager
def explaining(url: str) -> Iterator[None]:
    """Turn an error of the database at ``url`` into ``TwistpiError``, which says what to do."""
    try:
        yield
    except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
        remedy = "have it made by a user who may create tables, and see docs/cluster for the privileges of nodes"
        raise refusal(url, f"{first_line(error)}; {remedy}") from None
    except psycopg.Error as error:
        remedy = remedy_for(error) or "see that it runs and can be reached from here"
        raise refusal(url, f"{first_line(error)}; {remedy}") from None


def bring_up_to_date(url: str, connection: psycopg.Connection[Row], facts: Callable[[], ClusterFacts]) -> None:
    """Make the schema, of a cluster that has ``facts()``, or upgrade it, in the transaction of ``connection``.

    Raise ``TwistpiError`` for one of a newer version, ``psycopg.Error``.
    """
    version = schema_version(connection)
    if version == VERSION:
        return
    _check_not_newer(url, version)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    version = schema_version(connection)  # another node may have been faster
    _check_not_newer(url, version)
    for step in STEPS[version or 0 :]:
        connection.execute(step)
    if version is None:
        made = facts()
        connection.execute("INSERT INTO twistpi_head (serial, chain) VALUES (0, %s)", (NO_CHAIN,))
        values = (VERSION, made.log_id, made.secret)
        connection.execute("INSERT INTO twistpi_cluster (version, log_id, secret) VALUES (%s, %s, %s)", values)
    connection.execute("UPDATE twistpi_cluster SET version = %s", (VERSION,))


def check_server(url: str, connection: psycopg.Connection[Row], now: Callable[[], float]) -> None:
    """Raise ``TwistpiError`` for a version or a clock with which no node works.  ``now`` is as for ``prepare``."""
    if connection.info.server_version < OLDEST_SERVER:
        raise refusal(url, f"it is PostgreSQL {connection.info.server_version // 10000}, and 13 or newer is needed")
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    apart = 0.0 if row is None else now() - float(row[0])
    if abs(apart) > FARTHEST_CLOCK:
        which = "ahead of" if apart > 0 else "behind"
        raise refusal(url, f"the clock of this machine is {abs(apart):.0f} seconds {which} that of the database; set both right")


def schema_version(connection: psycopg.Connection[Row]) -> int | None:
    """Return the version of the schema; None while there is none."""
    # Not to_regclass(): after waiting for a lock, that may still not see what another session made.
    looked_for = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'twistpi_cluster' AND pg_table_is_visible(oid))"
    found = connection.execute(looked_for).fetchone()
    if found is None or not found[0]:
        return None
    row = connection.execute("SELECT version FROM twistpi_cluster").fetchone()
    return None if row is None else int(row[0])


def _check_not_newer(url: str, version: int | None) -> None:
    if version is not None and version > VERSION:
        reason = f"its schema has the version {version}, and this twistpi knows {VERSION}; install the version of the other nodes"
        raise refusal(url, reason)


def _check_not_moving(url: str, connection: psycopg.Connection[Row]) -> None:
    row = connection.execute("SELECT is_leaving, place FROM twistpi_move").fetchone()
    if row is None:
        return
    is_leaving, place = row
    if is_leaving:
        raise refusal(url, f"its log was moved to {place}; start the server there, or move it back: twistpi move")
    raise refusal(url, f"the log of {place} is being moved into it; run twistpi move there again until that is complete")


def read_facts(connection: psycopg.Connection[Row]) -> ClusterFacts:
    """Return the facts of the cluster whose schema is there; raise ``psycopg.Error``."""
    row = connection.execute("SELECT log_id, secret FROM twistpi_cluster").fetchone()
    assert row is not None
    return ClusterFacts(str(row[0]), bytes(row[1]))


def refusal(url: str, reason: str) -> TwistpiError:
    """Return the refusal to use the database at ``url``; ``reason`` says what to do."""
    return TwistpiError(f"The database at {database_name(url)} cannot be used: {reason}.")
