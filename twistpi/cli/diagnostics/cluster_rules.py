"""The rules of doctor for the database and the bucket of a cluster, and what they judge.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from twistpi.cli.diagnostics.findings import ADVICE, OK, UNKNOWN, WRONG, Finding, Rules, Said, judge, when
from twistpi.model.records import NOTHING

_SLOW_DATABASE: Final = 0.02
"""Seconds of a round trip; every change takes one, and every cold page and file two."""
_SLOW_BUCKET: Final = 0.3
"""Seconds of a small request."""
_CLOCK: Final = 5.0
"""Seconds; a node does not start with 30."""
_BUCKET_CLOCK: Final = 300.0
"""Seconds; a bucket refuses requests from 15 minutes on."""
_FEWEST_CONNECTIONS: Final = 3
"""Connections of one node: one writes, one listens, one has the leases."""


@attrs.frozen
class DatabaseSeen:
    """What was seen of a database."""

    name: str
    failure: str = ""
    """Why nothing was seen."""
    server: str = ""
    """Its version, as ``15.13``."""
    log_id: str | None = None
    """None while no log is there."""
    identity: str = ""
    """What distinguishes it from a copy of it."""
    schema: int | None = None
    """The version of the schema; None while there is none."""
    known_schema: int = 0
    """The version that the installed twistpi works with."""
    latency: float = 0.0
    """Seconds of a round trip."""
    ahead: float = 0.0
    """Seconds by which this machine's clock is ahead of the database's."""
    lacking: Sequence[str] = ()
    """Privileges that this user lacks, as ``INSERT on twistpi_lines``."""
    is_superuser: bool = False
    user: str = ""
    unsafe: Sequence[str] = ()
    """Settings that may lose what was acknowledged, as ``fsync=off``."""
    is_standby: bool = False
    free_connections: int = 100
    is_encrypted: bool = True
    """Whether the connection is; also true for one that does not leave this machine."""
    moved: str = ""
    """Where the log is on its way to or from; empty for the log of a cluster."""
    nodes: Mapping[str, str] = NOTHING
    """The version of each node that runs."""


@attrs.frozen
class BucketSeen:
    """What was seen of a bucket."""

    name: str
    failure: str = ""
    """Why nothing was seen."""
    owner: str | None = None
    """The id of the log whose files are there; None for a place that nobody uses yet."""
    log_id: str | None = None
    """The id of the log in the database; None when it is not known."""
    rival: str = ""
    """What is to be said of another cluster with the same log; empty without one."""
    refused: Mapping[str, str] = NOTHING
    """Why something that a node does is not possible, by what it is, as ``put``."""
    latency: float = 0.0
    """Seconds of a small request."""
    ahead: float | None = None
    """Seconds by which this machine's clock is ahead of the bucket's; None when that is not known."""
    versioning: str | None = None
    """``Enabled``, ``Suspended``, or empty; None when the bucket does not tell."""
    removes_parts: bool | None = None
    """Whether a rule removes what aborted uploads leave; None when the bucket does not tell."""
    is_encrypted: bool = True
    """Whether requests to it are; also true for one on this machine."""


def judge_cluster(database: DatabaseSeen, bucket: BucketSeen | None) -> list[Finding]:
    """Return the findings about what the nodes of a cluster share."""
    found = [Finding("database", WRONG, database.failure)] if database.failure else judge(DATABASE_RULES, database)
    if bucket is None:
        advice = "No bucket is named (setting blobs), so each node has only the files that came to itself. Name one."
        return [*found, Finding("bucket", WRONG, advice)]
    return [*found, Finding("bucket", WRONG, bucket.failure)] if bucket.failure else [*found, *judge(BUCKET_RULES, bucket)]


def _schema(seen: DatabaseSeen) -> Said:
    if seen.schema is None:
        yield UNKNOWN, f"There is no log in the database at {seen.name} yet. The first node makes it."
    elif seen.schema > seen.known_schema:
        versions = f"The schema has the version {seen.schema}, and the installed twistpi knows {seen.known_schema}"
        yield WRONG, f"{versions}. Install the version of the other nodes."
    elif seen.schema < seen.known_schema:
        yield ADVICE, f"The schema has the version {seen.schema}; the next start of a node upgrades it to {seen.known_schema}."
    if seen.moved:
        yield WRONG, f"No node starts: the log is moving ({seen.moved}). Complete that: twistpi move"


def _rights(seen: DatabaseSeen) -> Said:
    if seen.lacking and seen.schema is not None:
        yield WRONG, f"The user {seen.user} lacks {', '.join(seen.lacking)}. The page about clusters has the GRANT statements."
    if seen.is_superuser:
        yield ADVICE, f"The user {seen.user} is a superuser; a node needs much less. The page about clusters has the statements."


def _durability(seen: DatabaseSeen) -> Said:
    if seen.is_standby:
        yield WRONG, "It is a standby, which takes no writes. Name the primary, or all hosts: postgresql://one,two/twistpi"
    if seen.unsafe:
        yield WRONG, f"It may lose what was acknowledged: {', '.join(seen.unsafe)}. Correct that in postgresql.conf."


def _database_clock(seen: DatabaseSeen) -> Said:
    if abs(seen.ahead) > _CLOCK:
        which = "ahead of" if seen.ahead > 0 else "behind"
        yield WRONG, f"This machine's clock is {abs(seen.ahead):,.0f} seconds {which} the database's. Synchronise both with NTP."


def _nodes(seen: DatabaseSeen) -> Said:
    versions = sorted(set(seen.nodes.values()))
    if not seen.nodes:
        yield ADVICE, "No node has reported within 30 seconds. Start one."
    elif len(versions) > 1:
        yield ADVICE, f"The nodes have different versions: {', '.join(versions)}. Upgrade the older ones."
    elif len(seen.nodes) == 1:
        yield ADVICE, "One node runs. With a second one, nothing stops when it does."


DATABASE_RULES: Rules[DatabaseSeen] = {
    "database": [
        when(
            lambda it: it.latency > _SLOW_DATABASE,
            "The database at {0.name} takes {0.latency:.3f} s to answer, which every change waits for. Is it near the nodes?",
            ADVICE,
        ),
        "The database at {0.name}, PostgreSQL {0.server}, answers in {0.latency:.4f} s.",
    ],
    "schema": [_schema, "The schema has the version {0.schema}, which is the installed twistpi's."],
    "rights": [_rights, "The user {0.user} may do what a node does."],
    "durability": [_durability, "What it acknowledged, it keeps."],
    "database clock": [_database_clock, "This machine's clock and the database's agree."],
    "connections": [
        when(
            lambda it: it.free_connections < _FEWEST_CONNECTIONS,
            "Only {0.free_connections} more connections are possible, and each node needs three. Raise max_connections.",
            ADVICE,
        ),
        "{0.free_connections} more connections are possible; each node needs three.",
    ],
    "database TLS": [
        when(
            lambda it: not it.is_encrypted,
            "Hashes of passwords go to the database unencrypted. Add ?sslmode=verify-full to the URL.",
            ADVICE,
        ),
        "The connection to the database is encrypted, or does not leave this machine.",
    ],
    "nodes": [_nodes, "Several nodes run, all of the same version."],
}


def _owner(seen: BucketSeen) -> Said:
    if seen.owner is None:
        yield OK, f"The bucket {seen.name} has no files of any cluster yet."
    if seen.log_id is not None and seen.owner != seen.log_id:
        text = f"The bucket {seen.name} has the files of another cluster, with the log {seen.owner} instead of {seen.log_id}"
        yield WRONG, f"{text}. Name another bucket or prefix with --blobs: each would remove the other's files."


def _rival(seen: BucketSeen) -> Said:
    if seen.rival:
        yield WRONG, seen.rival


def _bucket_rights(seen: BucketSeen) -> Said:
    for what, reason in seen.refused.items():
        yield WRONG, f"A node cannot {what} objects: {reason}"


def _bucket_clock(seen: BucketSeen) -> Said:
    if seen.ahead is None:
        yield UNKNOWN, "The bucket's answers have no Date."
    elif abs(seen.ahead) > _BUCKET_CLOCK:
        which = "ahead of" if seen.ahead > 0 else "behind"
        difference = f"{abs(seen.ahead):,.0f} seconds {which} the bucket's, which refuses requests from 15 minutes on"
        yield WRONG, f"This machine's clock is {difference}. Synchronise it with NTP."


def _versions(seen: BucketSeen) -> Said:
    how = "The page about clusters has the rules."
    if seen.versioning is None:
        yield UNKNOWN, "The bucket does not tell whether it keeps versions. That needs the right s3:GetBucketVersioning."
    elif seen.versioning != "Enabled":
        yield ADVICE, f"The bucket keeps no versions, so what a command removes by mistake is gone. {how}"


def _parts(seen: BucketSeen) -> Said:
    if seen.removes_parts is None:
        yield UNKNOWN, "The bucket does not tell its lifecycle rules. That needs the right s3:GetLifecycleConfiguration."
    elif not seen.removes_parts:
        yield ADVICE, "No rule removes what aborted uploads leave, which costs room. The page about clusters has one."


BUCKET_RULES: Rules[BucketSeen] = {
    "bucket": [
        when(
            lambda it: it.latency > _SLOW_BUCKET,
            "The bucket {0.name} takes {0.latency:.2f} s for a small request. Is it in the region of the nodes?",
            ADVICE,
        ),
        "The bucket {0.name} answers in {0.latency:.3f} s.",
    ],
    "bucket owner": [_rival, _owner, "Its files are those of this cluster."],
    "bucket rights": [_bucket_rights, "A node may list, read, store and remove objects in it."],
    "bucket clock": [_bucket_clock, "This machine's clock and the bucket's agree."],
    "versions": [_versions, "It keeps versions of what is removed."],
    "parts": [_parts, "A rule removes what aborted uploads leave."],
    "bucket TLS": [
        when(lambda it: not it.is_encrypted, "Files go to the bucket unencrypted. Use https:// in s3-endpoint.", ADVICE),
        "The connection to the bucket is encrypted, or does not leave this machine.",
    ],
}
