"""What doctor sees of the database and the bucket of a cluster.

Imported when a cluster is asked for, because it needs psycopg and loads botocore.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from statistics import median
from typing import Final, cast
from urllib.parse import urlsplit
from xml.etree import ElementTree

import psycopg
from twisted.internet import reactor as _chosen_reactor
from twisted.internet.threads import deferToThread

from twistpi.blobs.bucket import BlobBucket
from twistpi.cli.diagnostics.cluster_rules import BucketSeen, DatabaseSeen
from twistpi.cluster.database import Database, Row, database_name, first_line, open_connection, remedy_for
from twistpi.cluster.presence import FIND_NODES, find_identity, seen_nodes
from twistpi.cluster.schema import NEEDED, VERSION, schema_version
from twistpi.http.errors import RequestFailed
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import Bucket, open_bucket
from twistpi.s3.errors import BucketRefused, BucketUnavailable
from twistpi.s3.threads import StoppedReactor, running, wait_for
from twistpi.server.bucket_claim import read_claim, rival_of, rival_sentence
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings

_ROUNDS: Final = 5
_LONGEST: Final = 1024 * 1024
_UNSAFE: Final = ("fsync", "full_page_writes", "synchronous_commit")
"""Settings that are to be on."""


# The database -------------------------------------------------------------------------------------------------------


def survey_database(url: str, now: Callable[[], float]) -> DatabaseSeen:
    """Return what is seen of the database at ``url``; ``now`` is the time in Unix seconds.  Blocking."""
    try:
        with open_connection(url) as connection, closing(Database(url, patience=0.0)) as database:
            return _look(database, connection, now)
    except psycopg.Error as error:
        remedy = remedy_for(error) or "see that it runs and can be reached from here"
        return DatabaseSeen(
            database_name(url), f"The database at {database_name(url)} cannot be used: {first_line(error)}; {remedy}."
        )


def _look(database: Database, connection: psycopg.Connection[Row], now: Callable[[], float]) -> DatabaseSeen:
    latency, ahead = _measure(connection, now)
    schema = schema_version(connection)
    user, is_superuser, is_standby = _one(
        connection, "SELECT rolname, rolsuper, pg_is_in_recovery() FROM pg_roles WHERE rolname = current_user"
    )
    free = _one(connection, "SELECT current_setting('max_connections')::int - count(*) FROM pg_stat_activity")[0]
    is_current = schema == VERSION
    log_id = None if schema is None else str(_one(connection, "SELECT log_id FROM twistpi_cluster")[0])
    moving = connection.execute("SELECT is_leaving, place FROM twistpi_move").fetchone() if is_current else None
    nodes = seen_nodes(connection.execute(FIND_NODES).fetchall()) if is_current else []
    return DatabaseSeen(
        name=database.name,
        server=str(_one(connection, "SHOW server_version")[0]).split(" ")[0],
        log_id=log_id,
        identity=find_identity(database),
        schema=schema,
        known_schema=VERSION,
        latency=latency,
        ahead=ahead,
        lacking=_lacking(connection) if is_current else (),
        is_superuser=bool(is_superuser),
        user=str(user),
        unsafe=[f"{name}=off" for name in _UNSAFE if _one(connection, "SELECT current_setting(%s)", name)[0] == "off"],
        is_standby=bool(is_standby),
        free_connections=int(free),
        is_encrypted=bool(connection.pgconn.ssl_in_use) or _is_near(connection.info.host),
        moved="" if moving is None else f"{'to' if moving[0] else 'from'} {moving[1]}",
        nodes={node.node_id: str(node.facts.get("version")) for node in nodes},
    )


def _one(connection: psycopg.Connection[Row], statement: str, *arguments: str) -> Row:
    row = connection.execute(statement.encode(), arguments).fetchone()
    assert row is not None
    return row


def _measure(connection: psycopg.Connection[Row], now: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of a round trip, and those by which this machine's clock is ahead."""
    times, ahead = [], 0.0
    for _ in range(_ROUNDS):
        began, asked_at = time.perf_counter(), now()
        there = float(_one(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")[0])
        times.append(time.perf_counter() - began)
        ahead = asked_at + times[-1] / 2 - there
    return median(times), ahead


def _lacking(connection: psycopg.Connection[Row]) -> list[str]:
    found = []
    for relation, privileges in NEEDED.items():
        check = "has_sequence_privilege" if relation.endswith("_tokens") else "has_table_privilege"
        for privilege in privileges:
            if not _one(connection, f"SELECT {check}(%s, %s)", relation, privilege)[0]:
                found.append(f"{privilege} on {relation}")
    return found


def _is_near(host: str) -> bool:
    """Return whether what is sent to ``host`` does not leave this machine."""
    try:
        return not host or host.startswith("/") or host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# The bucket ---------------------------------------------------------------------------------------------------------


def survey_bucket(settings: Settings, database: DatabaseSeen, now: Callable[[], float], environ: Mapping[str, str]) -> BucketSeen:
    """Return what is seen of the bucket that ``settings`` name; once in a process, because it runs the reactor.

    A small object is stored, read, listed and removed.  Raise ``TwistpiError`` for settings that cannot be.
    """
    address = parse_bucket(
        settings.blobs or "", endpoint=settings.s3_endpoint, region=settings.s3_region, style=settings.s3_addressing
    )
    reactor = cast(IServerReactor, _chosen_reactor)
    with running(cast(StoppedReactor, reactor)):
        offload = cast(Offload, deferToThread)
        bucket = open_bucket(address, reactor, offload, reactor.callFromThread, environ, extra_ca_file=settings.ca_file)
        try:
            return wait_for(reactor, lambda: look_at_bucket(bucket, database, now))
        finally:
            reactor.callFromThread(bucket.close)


async def look_at_bucket(bucket: Bucket, database: DatabaseSeen, now: Callable[[], float]) -> BucketSeen:
    """Return what is seen of ``bucket``, in which the log of ``database`` is to have its files."""
    log_id = database.log_id
    name = bucket.address.shown
    try:
        owner = await BlobBucket(bucket, log_id or "").find_owner()
    except (BucketRefused, BucketUnavailable) as error:
        return BucketSeen(name, str(error))
    times, ahead = [], None
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        response = await bucket.requests.send("list objects", "GET", None, {"list-type": "2", "max-keys": "1"})
        times.append(time.perf_counter() - began)
        date = response.header("Date")
        response.discard()
        ahead = None if date is None else now() - parsedate_to_datetime(date).timestamp()
    rival = rival_of(await read_claim(bucket), database.identity) if database.identity else None
    place = urlsplit(bucket.address.endpoint)
    versioning, lifecycle = await _setting(bucket, "versioning"), await _setting(bucket, "lifecycle")
    return BucketSeen(
        name=name,
        owner=owner,
        log_id=log_id,
        rival="" if rival is None else rival_sentence(rival),
        refused=await _try(bucket),
        latency=median(times),
        ahead=ahead,
        versioning=None if versioning is None else "".join(_texts(versioning, "Status")),
        removes_parts=None if lifecycle is None else bool(_texts(lifecycle, "AbortIncompleteMultipartUpload")),
        is_encrypted=place.scheme == "https" or _is_near(place.hostname or ""),
    )


async def _try(bucket: Bucket) -> dict[str, str]:
    """Do what a node does; return why something is not possible."""
    key, found = f"doctor/{secrets.token_hex(8)}", {}
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "store": lambda: bucket.put(key, b"twistpi doctor"),
        "read": lambda: bucket.read(key, 100),
        "list": lambda: bucket.list("doctor/"),
        "remove": lambda: bucket.delete(key),
    }
    for what, step in steps.items():
        try:
            await step()
        except (TwistpiError, LookupError) as error:
            found[what] = str(error)
            if what == "store":
                break  # there is nothing to read or remove
    return found


async def _setting(bucket: Bucket, parameter: str) -> ElementTree.Element | None:
    """Return a setting of the bucket; None when that is not told."""
    try:
        response = await bucket.requests.send(f"tell its {parameter}", "GET", None, {parameter: ""})
        return ElementTree.fromstring(await response.read(_LONGEST))
    except BucketRefused as error:
        return ElementTree.Element("none") if "NoSuchLifecycleConfiguration" in str(error) else None
    except (BucketUnavailable, RequestFailed, ElementTree.ParseError):
        return None


def _texts(root: ElementTree.Element, name: str) -> list[str]:
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == name]
