"""Look at a server directory, the process that serves it, and the upstreams of its mirrors.  Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import attrs

from twistpi import __version__
from twistpi.auth.passwords import BLANK
from twistpi.blobs.address import blob_address
from twistpi.cli.diagnostics.survey import Exchange, Question, Tell
from twistpi.cli.fetching import Fetcher
from twistpi.cli.genconfig import closed_to_others
from twistpi.http.proxies import ProxyRules
from twistpi.http.urls import split_credentials, without_credentials
from twistpi.model.accounts import ROOT
from twistpi.model.errors import ServerdirRefused
from twistpi.model.records import Index
from twistpi.rules.permissions import is_open
from twistpi.server.directory import Layout
from twistpi.server.node import read_node
from twistpi.server.run_file import Running, read_running
from twistpi.server.settings import Settings, load_settings
from twistpi.view.read import Reader, Readers

_PATIENCE = 10.0
"""Seconds for an upstream."""
_UPSTREAMS, _SAMPLES = 20, 50
"""How many upstreams are asked, and how many folders and files of ``+files`` are looked at."""


@attrs.frozen
class Upstream:
    """A mirror's upstream, and what it answered."""

    index: str
    url: str
    """Without credentials."""
    exchange: Exchange
    certificate_ends: float | None = None
    """Unix time in seconds; None without a certificate that is accepted."""


@attrs.frozen
class Protected:
    """A stored file of an index that not everybody may read."""

    index: str
    path: str
    """Below the index: ``+f/ab1/2cd34ef567890/NAME``."""
    blob: str
    """Below the server directory: ``+files/ab1/2cd34ef567890/NAME``."""


@attrs.frozen
class Machine:
    """What was seen on the server's machine."""

    settings: Settings
    """As the running server has them."""
    node_id: str
    version: str = __version__
    """Of the package that the doctor belongs to."""
    running: Running | None = None
    asks_upstreams: bool = True
    """Whether the server asks the mirrors' upstreams: it is neither offline nor a replica."""
    disk_free: int = 0
    """Bytes that the server's user may still write."""
    disk_total: int = 1
    inodes_free: int = 1
    inodes_total: int = 1
    """0 where the file system does not count them."""
    descriptors: int | None = None
    """How many files and connections the process may have open; None when it is not known."""
    secret: str = ""
    """The path of the secret that signs logins."""
    secret_mode: int = 0o600
    closed: str | None = None
    """A folder on the way to ``+files`` that other users cannot enter."""
    hidden: str | None = None
    """A folder or file of ``+files`` that a web server under another user cannot read."""
    root_is_blank: bool = False
    upstreams: Sequence[Upstream] = ()
    protected: Protected | None = None
    cached: tuple[str, str] | None = None
    """An index that everybody may read, and a project of which it has files."""


def look_at_machine(settings: Settings, proxies: ProxyRules, tell: Tell) -> Machine:
    """Return what there is to see.  Raises ``ServerdirRefused`` for a directory that is no server's."""
    serverdir, layout = settings.serverdir, Layout(settings.serverdir)
    node = read_node(serverdir)
    if node is None or not node.initialised:
        raise ServerdirRefused(serverdir, "nothing is in it yet; start twistpi once, or name another directory")
    running = read_running(serverdir)
    if running is not None and not _is_alive(running.pid):
        running = None
    if running is not None and running.settings:
        settings = load_settings({**running.settings, "serverdir": [serverdir]}, {})
    secret, disk = settings.secretfile or layout.secret, os.statvfs(serverdir)
    asks_upstreams = not settings.offline and not node.is_replica
    with closing(Readers(layout.view)) as readers:
        reader = readers.get()
        root, indexes = reader.user(ROOT), reader.indexes()
        projects = [(index, project) for index in indexes for project in reader.cached_projects(index.name)[:1]]
        protected = _protected(reader, [(index, project) for index, project in projects if not is_open(index)])
    return Machine(
        settings=settings,
        node_id=node.node_id,
        running=running,
        asks_upstreams=asks_upstreams,
        disk_free=disk.f_bavail * disk.f_frsize,
        disk_total=disk.f_blocks * disk.f_frsize,
        inodes_free=disk.f_favail,
        inodes_total=disk.f_files,
        descriptors=None if running is None else _descriptors(running.pid),
        secret=secret,
        secret_mode=stat.S_IMODE(os.stat(secret).st_mode) if os.path.exists(secret) else 0o600,
        closed=closed_to_others(serverdir),
        hidden=_hidden(serverdir),
        root_is_blank=root is not None and root.password_hash == BLANK,
        upstreams=tuple(_ask_upstreams(indexes, settings, proxies, tell)) if asks_upstreams else (),
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
    """Return how many descriptors a process may have; None where the system does not tell."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/limits", encoding="ascii") as file:
        if found := re.search(r"^Max open files\s+(\d+)", file.read(), re.MULTILINE):
            return int(found[1])
    return None


def _hidden(serverdir: str) -> str | None:
    """Return the first of some folders and files that another user cannot read."""
    for number, (path, mode) in enumerate(_walk(os.path.join(serverdir, "+files"))):
        wanted = 0o005 if stat.S_ISDIR(mode) else 0o004
        if mode & wanted != wanted:
            return path
        if number >= _SAMPLES:
            break
    return None


def _walk(folder: str) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(OSError):
        yield folder, os.stat(folder).st_mode
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry.path, entry.stat().st_mode


def _protected(reader: Reader, projects: Iterable[tuple[Index, str]]) -> Protected | None:
    """Return the first stored file of these projects."""
    for index, project in projects:
        known = reader.project(index.name, project)
        for file in known.offered if known is not None else ():
            if file.sha256 is not None:
                return Protected(index.name, file.path, f"+files/{blob_address(file.sha256, file.link.filename).relative}")
    return None


def _ask_upstreams(indexes: list[Index], settings: Settings, proxies: ProxyRules, tell: Tell) -> Iterator[Upstream]:
    """Ask each mirror's upstream for the beginning of its list, as the server would."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    mirrors = [index for index in indexes if index.is_mirror and index.config.get("mirror_url")][:_UPSTREAMS]
    for number, index in enumerate(mirrors, 1):
        url = str(index.config["mirror_url"])
        shown, ends = without_credentials(url), None
        try:
            address, credentials = split_credentials(url)
        except ValueError as error:
            yield Upstream(index.name, shown, Exchange(Question(shown), failure=str(error)))
            continue
        fetcher = Fetcher(credentials, proxies, context, _PATIENCE)
        accept = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.1"}
        exchange = fetcher.ask(Question(address, headers=accept, most=1))
        fetcher.close()
        tell("upstreams", number, len(mirrors))
        ends = fetcher.certificate_ends(address) if exchange.status else None
        yield Upstream(index.name, shown, exchange, ends)
