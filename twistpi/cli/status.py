"""``twistpi status``: the state of a server directory and of the server that runs on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime

from twistpi.cli.clients import ask_local_server
from twistpi.http.blocking import BlockingResponse
from twistpi.model.records import Json
from twistpi.model.storage_errors import ServerdirRefused
from twistpi.server.directory import Layout
from twistpi.server.node import read_node
from twistpi.view.read import Readers

_BETWEEN = 0.05
"""Seconds between two looks while something is waited for."""


def status_in(serverdir: str) -> dict[str, Json]:
    """Return what the running server says of itself, or what the directory says when none runs; ``running`` tells which.

    Blocking. Raise ``ServerdirRefused`` when nothing is there.
    """
    node = read_node(serverdir)
    if node is None:
        raise ServerdirRefused(serverdir, "nothing is in it yet; start twistpi once, or name another directory")
    match ask_local_server(serverdir, node, "/+status"):
        case (_, BlockingResponse(json={"result": dict(result)})):
            return {**result, "running": True}
    serial, view = 0, Layout(serverdir).view
    if os.path.exists(view):
        with closing(Readers(view)) as readers:
            serial = readers.get().serial()
    told = {"uuid": node.node_id, "role": "REPLICA" if node.is_replica else "MASTER", "log-id": node.log_id, "serial": serial}
    return {**told, **({"primary-url": node.primary_url} if node.is_replica else {}), "running": False}


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
    if is_replica:
        yield f"primary: {status.get('primary-url')}"
    if status["running"] and is_replica:
        yield from _replica_lines(status, now)
    if status.get("epoch", 1) > 1:
        yield f"epoch: {status['epoch']}"
    if status.get("fenced"):
        yield f"fenced: {status['fenced']}"
    for node, one in sorted(status.get("polling_replicas", {}).items()):
        here = "follows since" if one.get("is-streaming") else "left, came last"
        name = one.get("outside-url") or one.get("remote-ip")
        yield f"follower {node[:8]}: {name}, at serial {one.get('serial')}, {here} {_moment(one.get('last-request'), now)}"


def _replica_lines(status: Mapping[str, Json], now: float) -> Iterator[str]:
    yield f"state: {status.get('replica-state')}"
    entries, seconds = status.get("lag-entries"), status.get("lag-seconds")
    if entries is None:
        yield "lag: not known, the primary has told nothing since the start"
    else:
        told = {0: "nothing is missing", 1: "1 entry is missing"}.get(entries, f"{entries} entries are missing")
        sure = "" if seconds == 0 else f"; not certain {'yet' if seconds is None else f'for {seconds:.0f} s'}"
        yield f"lag: {told} of the primary's {status.get('primary-serial')}{sure}"
    yield f"last contact: {_moment(status.get('primary-contacted-at'), now)}"
    if status.get("log-begins-after"):
        yield f"history: entries up to {status['log-begins-after']} are not here (yet)"
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
