"""What ``twistpi status`` tells."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from twistpi.cli.clients import ask_local_server
from twistpi.http.blocking import BlockingResponse
from twistpi.model.records import Json
from twistpi.model.text import in_words
from twistpi.server.directory import Layout
from twistpi.server.node import not_made, read_node
from twistpi.server.storage import reading

_BETWEEN = 0.05
"""Seconds between two looks while something is waited for."""


def status_in(serverdir: str) -> dict[str, Json]:
    """Return what the running server says of itself, or what the directory says when none runs; ``running`` tells which.

    Blocking. Raise ``ServerdirRefused`` when nothing is there.
    """
    node = read_node(serverdir)
    if node is None:
        raise not_made(serverdir)
    match ask_local_server(serverdir, node, "/+status"):
        case (_, BlockingResponse(json={"result": dict(result)})):
            return {**result, "running": True}
    serial = 0
    if os.path.exists(Layout(serverdir).view):
        with reading(serverdir) as reader:
            serial = reader.serial()
    facts = {"uuid": node.node_id, "role": "REPLICA" if node.is_replica else "MASTER", "log-id": node.log_id, "serial": serial}
    return {**facts, **({"primary-url": node.primary_url} if node.is_replica else {}), "running": False}


def wait_for_serial(
    serverdir: str, serial: int, seconds: float | None, monotonic: Callable[[], float], pause: Callable[[float], object]
) -> dict[str, Json]:
    """Return the status once ``serial`` is there, or after ``seconds``. Blocking; raise as ``status_in`` does."""
    until = None if seconds is None else monotonic() + seconds
    while True:
        status = status_in(serverdir)
        if int(status.get("serial") or 0) >= serial or (until is not None and monotonic() >= until):
            return status
        pause(_BETWEEN)


def status_lines(status: Mapping[str, Json], now: float) -> Iterator[str]:
    """Yield the status for people."""
    is_replica = status["role"] == "REPLICA"
    yield f"role: {'replica' if is_replica else 'primary'}{'' if status['running'] else ' (no server runs)'}"
    yield f"serial: {status['serial']}"
    if isinstance(status.get("cluster"), dict):
        yield from _cluster_lines(status["cluster"])
    if status.get("rebuilding"):
        yield "rebuilding: the view, {percent} % so far; everything else is answered with 503".format(**status["rebuilding"])
        return
    if is_replica:
        yield f"primary: {status.get('primary-url')}"
    if status["running"] and is_replica:
        yield from _replica_lines(status, now)
    if status.get("log-begins-after"):
        why = "were compacted" if status.get("log-has-summary") else "are not here (yet)"
        yield f"history: the entries up to {status['log-begins-after']} {why}"
    if isinstance(status.get("advisories"), dict):
        yield _advisories_line(status["advisories"])
    if status.get("epoch", 1) > 1:
        yield f"epoch: {status['epoch']}"
    if status.get("fenced"):
        yield f"fenced: {status['fenced']}"
    for node, one in sorted(status.get("polling_replicas", {}).items()):
        here = "follows since" if one.get("is-streaming") else "left, came last"
        name = one.get("outside-url") or one.get("remote-ip")
        yield f"follower {node[:8]}: {name}, at serial {one.get('serial')}, {here} {_moment(one.get('last-request'), now)}"


def _advisories_line(advisories: Mapping[str, Json]) -> str:
    newest = advisories.get("modified")
    faults = ("" if advisories.get("is-current") else ", not the newest", ", old" if advisories.get("is-stale") else "")
    more = " (twistpi advisories show tells more)" if any(faults) else ""
    return f"advisories: {advisories.get('count')}{f', the newest of {newest}' if newest else ''}{''.join(faults)}{more}"


def _cluster_lines(cluster: Mapping[str, Json]) -> Iterator[str]:
    lacks = cluster.get("lag-entries")
    if not cluster.get("is-reachable"):
        yield "database: it does not answer; what is known is served, and changes are refused"
    elif lacks:
        yield f"database: at serial {cluster.get('serial')}; this node has lacked some for {cluster.get('lag-seconds')} s"
    else:
        yield f"database: at serial {cluster.get('serial')}; nothing is missing here"
    for node, one in sorted(cluster.get("nodes", {}).items()):
        name = one.get("outside-url") or "no outside-url"
        cached = "" if one.get("cache-bytes") is None else f", cache {in_words(one['cache-bytes'])}"
        leads = ", cleans up for all" if one.get("leads") else ""
        reported = f"reported {one.get('reported-seconds-ago')} s ago"
        yield f"node {node[:8]}: {name}, at serial {one.get('serial')}{cached}{leads}, {reported}"


def _replica_lines(status: Mapping[str, Json], now: float) -> Iterator[str]:
    yield f"state: {status.get('replica-state')}"
    entries, seconds = status.get("lag-entries"), status.get("lag-seconds")
    if entries is None:
        yield "lag: not known, the primary has not answered since the start"
    else:
        lag = {0: "nothing is missing", 1: "1 entry is missing"}.get(entries, f"{entries} entries are missing")
        sure = "" if seconds == 0 else f"; not certain {'yet' if seconds is None else f'for {seconds:.0f} s'}"
        yield f"lag: {lag} of the primary's {status.get('primary-serial')}{sure}"
    yield f"last contact: {_moment(status.get('primary-contacted-at'), now)}"
    files = status.get("files")
    if isinstance(files, dict):
        more = ", and more are being looked for" if files.get("searching") else ""
        yield f"files: {files.get('outstanding')} outstanding, {files.get('failing-count', 0)} failing{more}"
    if status.get("last-error"):
        yield f"last error: {_moment(status.get('last-error-at'), now)}: {status['last-error']}"


def _moment(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC ({max(0, round(now - at))} s ago)"
