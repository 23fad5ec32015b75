"""Looking at a server directory, the process that has it, and the upstreams of its mirrors.  Changes nothing."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import closing

from twistpi import __version__
from twistpi.auth.passwords import BLANK
from twistpi.blobs.address import blob_address
from twistpi.cli.doctoring.facts import Machine, Secluded, Upstream
from twistpi.cli.exchanges import Exchange, Question
from twistpi.cli.fetching import Fetcher
from twistpi.cli.genconfig import closed_to_others
from twistpi.mirror.addresses import split_credentials, without_credentials
from twistpi.mirror.proxies import ProxyRules
from twistpi.model.accounts import ROOT
from twistpi.model.errors import ServerdirRefused
from twistpi.model.records import Index
from twistpi.rules.permissions import is_open
from twistpi.server.directory import Layout
from twistpi.server.node import read_node
from twistpi.server.run_file import read_running
from twistpi.server.settings import Settings
from twistpi.view.read import Reader, Readers

_PATIENCE = 10.0
"""Seconds for an upstream."""
_MOST = 20
"""Upstreams that are asked."""
_SAMPLES = 50
"""Folders and files of ``+files`` that are looked at."""
_OTHERS_READ, _OTHERS_LOOK = 0o004, 0o005

Tell = Callable[[str, int, int], object]


def look_at_machine(settings: Settings, proxies: ProxyRules, tell: Tell) -> Machine:
    """What there is to see; raises ``ServerdirRefused`` for a directory that is no server's."""
    node = read_node(settings.serverdir)
    if node is None or not node.initialised:
        raise ServerdirRefused(settings.serverdir, "nothing is in it yet; start twistpi once, or name another directory")
    layout, disk = Layout(settings.serverdir), os.statvfs(settings.serverdir)
    secret = settings.secretfile or layout.secret
    asks_upstreams = not settings.offline and not node.is_replica
    running = read_running(settings.serverdir)
    if running is not None and not _is_alive(running.pid):
        running = None
    with closing(Readers(layout.view)) as readers:
        reader = readers.get()
        root, indexes = reader.user(ROOT), reader.indexes()
        secluded, cached = _secluded(reader, indexes), _cached(reader, indexes)
    return Machine(
        serverdir=settings.serverdir,
        version=__version__,
        node_id=node.node_id,
        running_pid=None if running is None else running.pid,
        running_addresses=() if running is None else running.addresses,
        outside_url=settings.outside_url,
        max_upload_size=settings.max_upload_size,
        trusts_everybody=any(network.prefixlen == 0 for network in settings.trusted_proxy),
        asks_upstreams=asks_upstreams,
        disk_reserve=settings.disk_reserve,
        disk_free=disk.f_bavail * disk.f_frsize,
        disk_total=disk.f_blocks * disk.f_frsize,
        inodes_free=disk.f_favail,
        inodes_total=disk.f_files,
        descriptors=None if running is None else _descriptors(running.pid),
        secret=secret,
        secret_mode=_mode(secret),
        closed=closed_to_others(settings.serverdir),
        hidden=_hidden(settings.serverdir),
        root_is_blank=root is not None and root.password_hash == BLANK,
        upstreams=tuple(_upstreams(indexes, settings, proxies, tell)) if asks_upstreams else (),
        secluded=secluded,
        cached=cached,
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _descriptors(pid: int) -> int | None:
    """How many descriptors a process may have; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            found = re.search(r"^Max open files\s+(\d+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _mode(path: str) -> int:
    """The permissions of a file; those of a good one where there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0o600


def _hidden(serverdir: str) -> str | None:
    """The first of some folders and files that another user cannot read, None when there is none."""
    for number, (path, mode) in enumerate(_walk(os.path.join(serverdir, "+files"))):
        wanted = _OTHERS_LOOK if stat.S_ISDIR(mode) else _OTHERS_READ
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


def _secluded(reader: Reader, indexes: list[Index]) -> Secluded | None:
    """A kept file of an index that is not for everybody."""
    for index in indexes:
        for project in reader.cached_projects(index.name)[:1] if not is_open(index) else ():
            known = reader.project(index.name, project)
            for file in known.offered if known is not None else ():
                if file.sha256 is not None:
                    blob = blob_address(file.sha256, file.link.filename)
                    return Secluded(index.name, file.path, f"+files/{blob.relative}")
    return None


def _cached(reader: Reader, indexes: list[Index]) -> tuple[str, str] | None:
    """An index that is for everybody, and a project of which it has files here."""
    for index in indexes:
        for project in reader.cached_projects(index.name)[:1] if is_open(index) else ():
            return index.name, project
    return None


def _upstreams(indexes: list[Index], settings: Settings, proxies: ProxyRules, tell: Tell) -> Iterator[Upstream]:
    """Each mirror's upstream, asked for its beginning as the server would ask."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    mirrors = [index for index in indexes if index.is_mirror and index.config.get("mirror_url")][:_MOST]
    for number, index in enumerate(mirrors, 1):
        url = str(index.config["mirror_url"])
        shown = without_credentials(url)
        try:
            address, credentials = split_credentials(url)
        except ValueError as error:
            yield Upstream(index.name, shown, Exchange(Question(shown), failure=str(error)))
            continue
        fetcher = Fetcher(credentials, proxies, context, _PATIENCE)
        exchange = fetcher.ask(
            Question(address, headers={"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.1"}, most=1)
        )
        fetcher.close()
        tell("upstreams", number, len(mirrors))
        yield Upstream(index.name, shown, exchange, fetcher.certificate_ends(address) if exchange.status else None)
