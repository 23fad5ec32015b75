"""What the commands that only look tell: ``status``, ``log`` and ``explain``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import attrs
import orjson
from packaging.version import InvalidVersion, Version

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.reader import read_lines
from twistpi.cli.administration import Administration
from twistpi.cli.clients import ask_local_server
from twistpi.http.blocking import BlockingResponse
from twistpi.model.changes import Change, LinksChanged
from twistpi.model.codec import decode_content, encode_change
from twistpi.model.errors import UnknownIndex
from twistpi.model.names import IndexName, normalize_project, version_of_filename
from twistpi.model.peers import Position
from twistpi.model.records import Index, Json
from twistpi.model.text import counted, without_secrets
from twistpi.rules.inheritance import (
    Explanation,
    FileFate,
    IndexFate,
    Ruling,
    Verdict,
    explain,
    resolution_order,
    rule_on_mirrors,
)
from twistpi.server.directory import Layout
from twistpi.server.node import not_made, read_node
from twistpi.server.storage import reading

_BETWEEN = 0.05
"""Seconds between two looks while something is waited for."""
_LONGEST_VALUE = 100
"""Characters of one value that are shown to people."""
_UNSHOWN = "password_hash"
"""A field that is not shown: screens get photographed."""
_PAGE: Final = "application/vnd.pypi.simple.v1+json"
_MOST_FILES: Final = 10
"""Files of an index that are listed when no version is named."""


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
        yield "lag: not known, the primary has not answered since the start"
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


def entries(directory: str, after: int, wait: Callable[[], object] | None = None) -> Iterator[RawLine]:
    """Yield the lines of the log in ``directory`` after serial ``after``; the chain is verified from the log's beginning.

    With ``wait``, which is called when there is nothing new, this never ends. The newest lines of a running server may not be
    acknowledged yet. Raise ``LogDamaged``.
    """
    disk = Disk()
    position: Position | None = None
    while True:
        for line in read_lines(directory, disk, position):
            position = line.position
            if line.serial > after:
                yield line
        if wait is None:
            return
        wait()


def missing_before(directory: str, after: int) -> str | None:
    """Return a sentence about lines after serial ``after`` that the log in ``directory`` never had; None when there are none."""
    base, _segments = read_base(directory, Disk())
    if after >= base.serial:
        return None
    return f"This log begins after serial {base.serial} ({base.chain}); the primary has the older entries."


def as_json(line: RawLine) -> str:
    """Return one line of JSON: the entry as in the log, after its serial and chain."""
    return f'{{"serial":{line.serial},"chain":"{line.chain}",{line.body[1:].decode()}'


def as_text(line: RawLine) -> str:
    """Return the entry for people: a line with serial, time and author, and one for each change; without logins in URLs."""
    entry = decode_content(line.body, line.serial)
    return without_secrets(
        "\n".join([f"{entry.serial}  {entry.at}  {entry.by}", *(f"    {describe(one)}" for one in entry.changes)])
    )


def describe(change: Change) -> str:
    """Return a change in one line."""
    if isinstance(change, LinksChanged):
        return _describe_links(change)
    fields = encode_change(change)
    kind = fields.pop("kind")
    return " ".join([kind, *(f"{name}={_short(value, name)}" for name, value in fields.items())])


def _describe_links(change: LinksChanged) -> str:
    counts = {name: len(getattr(change, name)) for name in ("added", "changed", "removed", "versions_added", "versions_removed")}
    told = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    if change.header is not None:
        told.append("header " + _short(attrs.asdict(change.header)))
    return f"LinksChanged index={change.index} project={change.project}: {', '.join(told) or 'nothing'}"


def _short(value: object, name: str = "") -> str:
    if name == _UNSHOWN and value:
        return "…"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def explain_project(administration: Administration, name: str, project: str, version: str | None, *, fetch: bool) -> Explanation:
    """Return what the index ``name`` shows for ``project``, or for one version of it, and why.

    With ``fetch`` a running server first has the mirrors that may contribute ask their upstreams; no upstream learns a private
    name. Raise ``InvalidName``, ``UnknownIndex``.
    """
    reader = administration.reader
    index = reader.index(str(IndexName.parse(name)))
    if index is None:
        raise UnknownIndex(name)
    normal = normalize_project(project)
    order = resolution_order(index, reader.index)
    ruling = rule_on_mirrors(normal, order, lambda other: reader.has_project(other, normal))
    failures: Mapping[str, str] = {}
    if ruling.allowed and fetch:
        failures = _ask_mirrors(administration, order, normal)
    elif ruling.allowed:
        unknown = (one.name for one in order if one.is_mirror and not reader.has_project(one.name, normal))
        failures = dict.fromkeys(unknown, "nothing of the project is known here yet; --fetch has the server ask its upstream")
    known = {one.name: reader.project(one.name, normal) for one in order}
    knowledge = {other: found for other, found in known.items() if found is not None}
    former = [one.name for one in order if not one.is_mirror and reader.had_project(one.name, normal)]
    return explain(order, normal, version, knowledge, failures, former)


def _ask_mirrors(administration: Administration, order: Sequence[Index], project: str) -> Mapping[str, str]:
    """Have each mirror ask its upstream; return why some cannot tell, by index."""
    failures = {}
    for mirror in (index for index in order if index.is_mirror):
        response = administration.ask(f"/{quote(mirror.name)}/+simple/{project}/", _PAGE)
        if response is None:
            if not administration.reader.has_project(mirror.name, project):
                failures[mirror.name] = "no server runs here that could ask its upstream, and nothing of the project is known yet"
        elif response.status >= 500:
            failures[mirror.name] = response.message
    return failures


def explanation_fields(index: str, explanation: Explanation) -> dict[str, Json]:
    """Return the explanation for programs, with every file."""
    return {
        "index": index,
        "project": explanation.project,
        "version": explanation.version,
        "answering": list(explanation.answering),
        "mirrors": attrs.asdict(explanation.ruling),
        "former-owners": list(explanation.former_owners),
        "missing-bases": [{"index": owner, "base": base} for owner, base in explanation.missing_bases],
        "indexes": [_fate_fields(fate, explanation.project) for fate in explanation.fates],
    }


def _fate_fields(fate: IndexFate, project: str) -> dict[str, Json]:
    files = [
        {"filename": file.filename, "hidden-by": file.shadowed_by, "withheld": file.withheld}
        for file in newest_first(fate, project)
    ]
    told = {"index": fate.index.name, "type": "mirror" if fate.index.is_mirror else "stage", "verdict": fate.verdict.name.lower()}
    return {**told, "silenced-by": fate.silenced_by, "reason": fate.reason, "files": files}


def newest_first(fate: IndexFate, project: str) -> list[FileFate]:
    """Return the files of an index, those of the newest version first, and those without a version last."""

    def age(file: FileFate) -> tuple[bool, Version]:
        try:
            return True, Version(version_of_filename(file.filename, project) or "")
        except InvalidVersion:
            return False, Version("0")

    return sorted(fate.files, key=age, reverse=True)


def explanation_lines(index: str, explanation: Explanation) -> Iterator[str]:
    """Yield the explanation for people."""
    subject = explanation.project if explanation.version is None else f"{explanation.project} {explanation.version}"
    yield f"{index}: {_outcome(subject, explanation)}"
    yield f"Mirrors: {_ruling_text(explanation.ruling, explanation)}."
    for owner, base in explanation.missing_bases:
        yield f"Note: {owner} names the base {base}, which does not exist."
    for owner in explanation.former_owners:
        project = explanation.project
        yield f"Note: {owner} had {project} until it was removed; to keep it private: devpi index {owner} reserved+={project}"
    width = max(len(fate.index.name) for fate in explanation.fates)
    for number, fate in enumerate(explanation.fates, 1):
        kind = "mirror" if fate.index.is_mirror else "stage "
        yield f"{number:2}. {kind}  {fate.index.name:{width}}  {_verdict_text(fate, explanation.ruling)}"
        yield from _file_lines(newest_first(fate, explanation.project), everything=explanation.version is not None)


def _outcome(subject: str, explanation: Explanation) -> str:
    if explanation.answering:
        return f"{subject} comes from {' and '.join(explanation.answering)}"
    if any(fate.verdict is Verdict.FAILED for fate in explanation.fates):
        return f"it cannot be told now whether {subject} exists"
    return f"no index has {subject}"


def _ruling_text(ruling: Ruling, explanation: Explanation) -> str:
    project = explanation.project
    if ruling.reserved is not None:
        return f"never answer, because the key reserved of {ruling.reserved} names {project}"
    if ruling.whitelisted is not None:
        return f"may answer, because the mirror_whitelist allows {project} at {ruling.whitelisted}"
    if not ruling.allowed:
        owner = ruling.private
        advice = f"devpi index {explanation.fates[0].index.name} mirror_whitelist+={project}"
        return f"do not answer, because {owner} has {project} and no mirror_whitelist allows it (to allow it: {advice})"
    return f"may answer, because no private index has {project}"


def _verdict_text(fate: IndexFate, ruling: Ruling) -> str:
    words = fate.verdict.value
    if fate.verdict is Verdict.SILENCED and fate.silenced_by is not None:
        words += f": {fate.silenced_by} {'has the project' if ruling.reserved is None else 'reserves the name'}"
    return words if fate.reason is None else f"{words}: {fate.reason}"


def _file_lines(files: Sequence[FileFate], *, everything: bool) -> Iterator[str]:
    shown = files if everything else files[:_MOST_FILES]
    for file in shown:
        yield f"      {file.filename}{_fate_text(file)}"
    if len(shown) < len(files):
        yield f"      and {counted(len(files) - len(shown), 'older file')}; name a version to see those of it"


def _fate_text(file: FileFate) -> str:
    if file.shadowed_by is not None:
        return f"  hidden: {file.shadowed_by} has a file of this name and is nearer"
    return "" if file.withheld is None else f"  not offered: {file.withheld}"
