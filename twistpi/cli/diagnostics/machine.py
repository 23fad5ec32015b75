"""What doctor looks at on the server's machine, and the rules for it: directory, process, upstreams. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from twistpi import __version__
from twistpi.auth.passwords import BLANK
from twistpi.blobs.address import blob_address
from twistpi.cli.diagnostics.findings import ADVICE, OK, UNKNOWN, WRONG, Finding, Rules, Said, judge, when
from twistpi.cli.diagnostics.survey import Exchange, Fetcher, Query
from twistpi.cli.genconfig import closed_to_others
from twistpi.http.blocking import UNTRUSTED, BlockingClient
from twistpi.http.routes import ProxyRules
from twistpi.http.urls import split_credentials
from twistpi.model.records import ROOT, Index
from twistpi.model.text import in_words
from twistpi.model.urls import is_folder_address, without_credentials
from twistpi.rules.permissions import is_open
from twistpi.server.directory import Layout
from twistpi.server.node import Running, not_made, read_node, read_running
from twistpi.server.setting_sources import load_settings
from twistpi.server.settings import Settings
from twistpi.server.storage import reading
from twistpi.view.read import Reader

_PATIENCE = 10.0
"""Seconds for an upstream."""
_UPSTREAMS, _SAMPLES = 20, 50
"""How many upstreams are asked, and how many folders and files of ``+files`` are looked at."""
_DESCRIPTORS = 4096
PROXY_LOGIN: Final = (
    "The forward proxy wants a login: HTTPS_PROXY=http://user:password@… (HTTP_PROXY); or name the host in NO_PROXY."
)


@attrs.frozen
class Upstream:
    """A mirror's upstream, and what it answered."""

    index: str
    url: str
    """Without credentials."""
    exchange: Exchange
    certificate_days: float | None = None
    """How long its certificate is still good; None without one that is accepted."""


@attrs.frozen
class Protected:
    """A stored file of an index that not everybody may read: its path below the index, and below the server directory."""

    index: str
    path: str
    blob: str


@attrs.frozen
class Machine:
    """What was seen on the server's machine."""

    settings: Settings
    """As the running server has them."""
    node_id: str
    version: str = __version__
    """Of the package that the doctor belongs to."""
    running: Running | None = None
    disk_free: int = 0
    """Bytes that the server's user may still write."""
    disk_total: int = 1
    inodes_free: int = 1
    inodes_total: int = 1
    """0 where the file system does not count them."""
    descriptors: int | None = None
    """How many files and connections the process may have open; None when it is not known."""
    open_secret: str | None = None
    """The path of the secret that signs logins, if other users can read it."""
    closed: str | None = None
    """A folder on the way to ``+files`` that other users cannot enter."""
    hidden: str | None = None
    """A folder or file of ``+files`` that a web server under another user cannot read."""
    root_is_blank: bool = False
    upstreams: Sequence[Upstream] | None = ()
    """None where the server asks none: it is offline, or a replica."""
    protected: Protected | None = None
    is_cache: bool = False
    """Whether the directory is the cache of a node of a cluster."""
    cached: tuple[str, str] | None = None
    """An index that everybody may read, and a project of which it has files."""

    @property
    def disk_left(self) -> str:
        """The free space of the disk, for a sentence."""
        return f"{in_words(self.disk_free)} of {in_words(self.disk_total)}"


def look_at_machine(settings: Settings, proxies: ProxyRules, count_question: Callable[[], object], now: float) -> Machine:
    """Return what there is to see ``now`` (Unix seconds); raise ``ServerdirRefused`` for a directory that is no server's."""
    serverdir, layout = settings.serverdir, Layout(settings.serverdir)
    node = read_node(serverdir)
    if node is None or not node.initialised:
        raise not_made(serverdir)
    running = read_running(serverdir)
    if running is not None and not _is_alive(running.pid):
        running = None
    if running is not None and running.settings:
        settings = load_settings({**running.settings, "serverdir": [serverdir]}, {})
    secret, disk = settings.secretfile or layout.secret, os.statvfs(serverdir)
    with reading(serverdir) as reader:
        root, indexes = reader.user(ROOT), reader.indexes()
        projects = [(index, project) for index in indexes for project in reader.cached_projects(index.name)[:1]]
        protected = _protected(reader, [(index, project) for index, project in projects if not is_open(index)])
    return Machine(
        settings=settings,
        node_id=node.node_id,
        is_cache=bool(node.is_cache),
        running=running,
        disk_free=disk.f_bavail * disk.f_frsize,
        disk_total=disk.f_blocks * disk.f_frsize,
        inodes_free=disk.f_favail,
        inodes_total=disk.f_files,
        descriptors=None if running is None else _descriptors(running.pid),
        open_secret=secret if os.path.exists(secret) and os.stat(secret).st_mode & 0o077 else None,
        closed=closed_to_others(serverdir),
        hidden=_hidden(serverdir),
        root_is_blank=root is not None and root.password_hash == BLANK,
        upstreams=None
        if settings.offline or node.is_replica
        else _ask_upstreams(indexes, settings, proxies, count_question, now),
        protected=protected,
        cached=next(((index.name, project) for index, project in projects if is_open(index)), None),
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _descriptors(pid: int) -> int | None:
    """Return how many descriptors a process may have; None where the system does not say."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/limits", encoding="ascii") as file:
        if found := re.search(r"^Max open files\s+(\d+)", file.read(), re.MULTILINE):
            return int(found[1])
    return None


def _hidden(serverdir: str) -> str | None:
    """Return the first of some folders and files of ``+files`` that another user cannot read."""
    top = Path(serverdir, "+files")
    for path in (top, *islice(top.rglob("*"), _SAMPLES)):
        with contextlib.suppress(OSError):
            wanted = 0o005 if path.is_dir() else 0o004
            if path.stat().st_mode & wanted != wanted:
                return str(path)
    return None


def _protected(reader: Reader, projects: Iterable[tuple[Index, str]]) -> Protected | None:
    """Return the first stored file of these projects."""
    for index, project in projects:
        known = reader.project(index.name, project)
        for file in known.offered if known is not None else ():
            if file.sha256 is not None:
                return Protected(index.name, file.path, f"+files/{blob_address(file.sha256, file.link.filename).relative}")
    return None


def _ask_upstreams(
    indexes: Sequence[Index], settings: Settings, proxies: ProxyRules, count_question: Callable[[], object], now: float
) -> list[Upstream]:
    """Ask each mirror's upstream for the beginning of its list, as the server would."""
    context, found = ssl.create_default_context(), []
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    accept = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.1"}
    with closing(BlockingClient(_PATIENCE, proxies, context)) as client:
        asked = [index for index in indexes if index.is_mirror and index.config.get("mirror_url")]
        for index in [index for index in asked if not is_folder_address(index.config["mirror_url"])][:_UPSTREAMS]:
            url = without_credentials(str(index.config["mirror_url"]))
            try:
                _, credentials = split_credentials(str(index.config["mirror_url"]))
            except ValueError:
                credentials = None  # the request fails with the reason
            exchange = Fetcher(client, credentials, count_question).ask(Query(url, headers=accept, most=1))
            found.append(Upstream(index.name, url, exchange, days_left(client, url, now) if exchange.status else None))
    return found


def days_left(client: BlockingClient, url: str, now: float) -> float | None:
    """Return how long the certificate of ``url`` is good at ``now`` (Unix seconds); None where none is seen and accepted."""
    end = client.certificate_end(url)
    return None if end is None else (end - now) / 86400


def judge_machine(machine: Machine) -> list[Finding]:
    """Return the findings about the machine and the upstreams of its mirrors."""
    found = judge(MACHINE_RULES, machine)
    if machine.upstreams is None:
        found.append(Finding("upstream", OK, "The server uses no upstream: it is offline by its settings, or a replica."))
    return [*found, *(finding for upstream in machine.upstreams or () for finding in judge(UPSTREAM_RULES, upstream))]


def wants_proxy_login(exchange: Exchange) -> bool:
    """Return whether a forward proxy refused the request, by itself or as the way to an HTTPS server."""
    return exchange.status == 407 or (not exchange.status and " 407 " in exchange.failure)


def in_days(number: float) -> str:
    """Return a number of days in words."""
    return "1 day" if round(number) == 1 else f"{number:,.0f} days"


def _disk(machine: Machine) -> Said:
    disk, reserve, left = f"The disk of {machine.settings.serverdir}", machine.settings.disk_reserve, machine.disk_left
    if machine.disk_free < reserve:
        yield WRONG, f"{disk} has only {left} left, and the setting disk-reserve requires {in_words(reserve)}. Free some space."
    if machine.inodes_free < machine.inodes_total * 0.02:
        yield WRONG, f"{disk} can hold only {machine.inodes_free:,} more files. Free some inodes."
    if machine.disk_free < min(machine.disk_total * 0.05, 10 << 30):
        yield ADVICE, f"{disk} has {left} left. twistpi gc deletes files that no index uses."


def _process(machine: Machine) -> Said:
    serverdir = machine.settings.serverdir
    if machine.running is None:
        yield WRONG, f"No server runs on {serverdir}. Start it: twistpi serve --serverdir {serverdir}"
    elif not machine.running.addresses:
        yield ADVICE, "A process uses the directory, but listens nowhere yet; it may just be starting."


def _few_descriptors(machine: Machine) -> Said:
    if machine.descriptors is None:
        yield UNKNOWN, "The number of files and connections that the process may open is not known."
    elif machine.descriptors < _DESCRIPTORS:
        how = "LimitNOFILE in systemd, minfds in supervisord.conf, ulimit -n in a shell"
        yield ADVICE, f"The process may open only {machine.descriptors} files and connections. Allow {_DESCRIPTORS}: {how}."


def _file_modes(machine: Machine) -> Said:
    web, hidden, closed = "a web server that is to send files itself", machine.hidden, machine.closed
    if hidden is not None:
        yield ADVICE, f"{hidden} can be read by its owner only. For {web} as another user: chmod o+rX {hidden}"
    if closed is not None:  # as most homes are
        yield OK, f"Only the owner of {closed} can reach the stored files. For {web}: chmod o+x {closed}"


def _upstream(upstream: Upstream) -> Said:
    exchange, name = upstream.exchange, f"{upstream.index} mirrors {upstream.url}"
    status, gives = exchange.status, f"{name}, which gives {exchange.outcome}."
    if wants_proxy_login(exchange):
        yield WRONG, f"{gives} {PROXY_LOGIN}"
    elif exchange.failure.startswith(UNTRUSTED):
        yield WRONG, f"{gives} If it is the right server, add the authority of its certificate with the setting ca-file."
    elif not status:
        yield WRONG, f"{gives} Is mirror_url right? Check HTTPS_PROXY and NO_PROXY in the server's environment."
    elif status in (401, 403):
        yield WRONG, f"{gives} Add a login to its mirror_url: https://user:password@…"
    elif status >= 500:
        yield WRONG, f"{gives} Known pages are still served."
    elif status == 404:
        yield ADVICE, f"{gives} Is mirror_url the address of a simple index?"
    elif upstream.certificate_days is not None and upstream.certificate_days < 7:
        yield ADVICE, f"{name}, whose certificate ends in {in_days(upstream.certificate_days)}. Tell its administrators."


MACHINE_RULES: Rules[Machine] = {
    "process": [_process, "The process {0.running.pid} serves {0.settings.serverdir}."],
    "disk": [_disk, "The disk has {0.disk_left} left."],
    "descriptors": [_few_descriptors, "The process may open {0.descriptors:,} files and connections."],
    "secret": [
        when(lambda it: it.open_secret, "Others may read the secret that signs logins. chmod 600 {0.open_secret}"),
        "Only the server's user may read the secret that signs logins.",
    ],
    "file modes": [_file_modes, "A web server in front can read the stored files."],
    "root": [
        when(lambda it: it.root_is_blank, "root has a blank password, accepted from this machine: twistpi passwd root", ADVICE),
        "root has a password.",
    ],
    "trust": [
        when(
            lambda it: any(network.prefixlen == 0 for network in it.settings.trusted_proxy),
            "The setting trusted-proxy contains all addresses, so any client can forge its own address. Name the proxies only.",
        ),
        "The setting trusted-proxy does not contain all addresses.",
    ],
}
UPSTREAM_RULES: Rules[Upstream] = {"upstream": [_upstream, "{0.index} mirrors {0.url}, which answers."]}
