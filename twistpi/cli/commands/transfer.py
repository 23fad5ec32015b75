"""Commands that move between servers: ``import`` and ``export``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
import click

from twistpi.changelog.disk import Disk
from twistpi.cli.administration import catch_up_if_stopped, require_made
from twistpi.cli.commands.common import FILE, FOLDER, now, settings_options, show, show_progress, trusted
from twistpi.cli.commands.last_look import follow_live
from twistpi.http.blocking import BlockingClient
from twistpi.http.routes import ProxyRules
from twistpi.http.urls import split_credentials
from twistpi.model.changes import IndexCreated, UserCreated
from twistpi.model.names import IndexName
from twistpi.model.records import ROOT
from twistpi.model.server_errors import ServerdirRefused
from twistpi.rules.accounts import check_name
from twistpi.rules.index_config import defaults
from twistpi.rules.uploads import check_open
from twistpi.server.directory import Layout
from twistpi.server.node import read_node
from twistpi.server.optional_bucket import blobs_to_look_at
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage, first_changes, reading
from twistpi.transfer.devpi_dialect import DIALECTS
from twistpi.transfer.dump_file import DumpSource
from twistpi.transfer.dump_writer import DumpWriter
from twistpi.transfer.importer import Importer
from twistpi.transfer.live_source import LiveSource, login
from twistpi.transfer.records import Source
from twistpi.transfer.report import Report
from twistpi.transfer.simple_source import SimpleSource
from twistpi.transfer.target import ServerTarget, Target, TrialTarget
from twistpi.transfer.web_reader import WebReader
from twistpi.view.database import copy_view, open_view

_PATIENCE = 60.0
"""Seconds without a byte from another server."""


@click.command("import")
@settings_options()
@click.option("--simple", metavar="URL", help="Import from the simple index at this address instead of a folder.")
@click.option("--live", metavar="URL", help="Import from the running devpi-server at this address instead of a folder.")
@click.option("--follow", is_flag=True, help="Go on importing what is new there, until Enter is pressed or SIGUSR1 comes.")
@click.option("--into", metavar="USER/INDEX", help="The private index that gets what --simple has.")
@click.option("--projects", metavar="PATH", type=FILE, help="A file with the projects to import, one in a line.  [default: all]")
@click.option("--dry-run", is_flag=True, help="Read and verify everything, and write nothing.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("folder", type=FOLDER, required=False)
def import_(
    settings: Settings,
    simple: str | None,
    live: str | None,
    follow: bool,
    into: str | None,
    projects: str | None,
    dry_run: bool,
    json: bool,
    folder: str | None,
) -> None:
    """Import an export of devpi-server 6 or 7, a running one, or a simple index.

    FOLDER is what devpi-export or twistpi export wrote. The server directory may be a new one; no server may run on it. What is
    here already with the same digest is passed over, so the command can be run again after an interruption. The report names all
    that could not be taken. A running devpi-server needs the login of an administrator, by default root, whose password is asked
    for unless it stands in the URL; passwords and what mirrors have cached are not told by it. With --follow, what is changed and
    removed there is changed and removed here, too, until a last look at the end, when the old server takes no more uploads.
    """
    if sum(one is not None for one in (folder, simple, live)) != 1:
        raise click.UsageError("name either the folder of an export, or --simple URL, or --live URL")
    if (simple is None) != (into is None):
        raise click.UsageError("--simple and --into go together")
    if follow and (live is None or dry_run):
        raise click.UsageError("--follow goes with --live, and without --dry-run")
    report, facts = Report(), {}
    with closing(BlockingClient(_PATIENCE, ProxyRules.from_environment(os.environ), trusted(settings))) as client:
        source: Source
        live_source = None if live is None else _live_source(client, live)
        if live_source is not None:
            live_source.serial()
            source = live_source
        elif folder is not None:
            source = DumpSource(folder)
        else:
            source = _simple_source(client, str(simple), str(into), projects)
        source.totals()  # before anything is made: the folder may be none
        with (_trial if dry_run else _opened)(settings) as target:
            if into is not None:
                _make_index(target, into)
            if follow and live_source is not None:
                last = follow_live(live_source, target, to_stderr=json)
                report, facts = last.report, {"serial": last.serial, "seconds": last.seconds}
            else:
                run_import(source, target, report)
    show({**facts, **report.fields()} if json else None, report.lines())
    if not report.is_complete:
        sys.exit(1)


def _simple_source(client: BlockingClient, url: str, into: str, projects: str | None) -> SimpleSource:
    only: list[str] = []
    if projects is not None:
        lines = Path(projects).read_text(encoding="utf-8").splitlines()
        only = [name for name in (line.partition("#")[0].strip() for line in lines) if name]
    try:
        address, credentials = split_credentials(url)
    except ValueError as error:
        raise click.BadParameter(f"{url}: {error}", param_hint="--simple") from None
    headers = {} if credentials is None else {"Authorization": credentials.authorization}
    return SimpleSource(WebReader(client, address, headers), f"{address.rstrip('/')}/", into, only)


def _live_source(client: BlockingClient, url: str) -> LiveSource:
    try:
        address, _credentials = split_credentials(url)
    except ValueError as error:
        raise click.BadParameter(f"{url}: {error}", param_hint="--live") from None
    parts, address = urlsplit(url), address.rstrip("/")
    user, password = unquote(parts.username or ROOT), parts.password
    secret: str = click.prompt(f"password of {user}", hide_input=True, err=True) if password is None else unquote(password)
    return LiveSource(lambda: WebReader(client, address, login(client, address, user, secret)), address, time.monotonic)


def _make_index(target: Target, name: str) -> None:
    """Make the private index ``name``, and its owner, who cannot log in yet, unless they are there."""
    IndexName.parse(name)
    owner, index = name.partition("/")[0], target.reader.index(name)
    if index is not None:
        check_open(index, "", None)
        return
    users = () if target.reader.user(owner) is not None else (UserCreated(check_name("username", owner), {}, None),)
    target.commit(lambda _reader: (*users, IndexCreated(name, defaults("stage", owner))))


@click.command()
@settings_options()
@click.option(
    "--format", "format_", type=click.Choice(list(DIALECTS)), default="devpi6", show_default=True, help="Who is to read it."
)
@click.option("--include-mirrored-files", is_flag=True, help="Export the files that mirrors have cached, too.")
@click.option("--hard-links", is_flag=True, help="Link the files instead of copying them, where the file system allows it.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("folder", type=FOLDER)
def export(settings: Settings, format_: str, include_mirrored_files: bool, hard_links: bool, json: bool, folder: str) -> None:
    """Export everything in the form of devpi-server's export.

    FOLDER must be empty or missing. devpi-import reads it, and twistpi import. The server may run: what it has at the beginning
    is exported. The folder is as secret as the server directory. What devpi-server has no words for is in twistpi.json beside
    its dataindex.json, or is named in the report.
    """
    log_id = require_made(settings.serverdir).log_id
    catch_up_if_stopped(settings, now)
    report, dialect = Report(), DIALECTS[format_]
    with (
        reading(settings.serverdir) as reader,
        blobs_to_look_at(settings, log_id) as blobs,
        show_progress(sys.stderr, "files") as progress,
    ):
        total = reader.count_files()
        DumpWriter(
            reader,
            blobs,
            folder,
            dialect,
            report,
            lambda done: progress("export", min(done, total), total),
            hard_links,
            include_mirrored_files,
        ).write()
    show(report.fields() if json else None, report.lines())
    if not report.is_complete:
        sys.exit(1)


def run_import(source: Source, target: Target, report: Report) -> None:
    """Import, and show the progress."""
    total = sum(source.totals().values())
    with show_progress(sys.stderr, "records") as progress:
        Importer(target, report, lambda done: progress("import", min(done, total), total) if total else None).run(source)


@contextmanager
def _opened(settings: Settings) -> Iterator[Target]:
    """Return the server directory as a target; made, without a mirror, if it is not there."""
    _check_primary(settings)
    with closing(Storage.open(attrs.evolve(settings, no_root_pypi=True), now, Disk())) as storage:
        yield ServerTarget(storage.log, storage.view, storage.blobs, now)


@contextmanager
def _trial(settings: Settings) -> Iterator[Target]:
    """Return a target that forgets everything, and begins with what is in the server directory."""
    node = _check_primary(settings)
    with tempfile.TemporaryDirectory(prefix="twistpi-import-") as folder:
        path = str(Path(folder, "view.sqlite"))
        if node:
            copy_view(Layout(settings.serverdir).view, path)
        with closing(open_view(path, node or "0" * 32)) as view:
            target = TrialTarget(view, f"{now():%Y-%m-%dT%H:%M:%S.%fZ}")
            if not node:
                target.commit(lambda _reader: first_changes("0" * 32, None, with_mirror=False))
            yield target


def _check_primary(settings: Settings) -> str:
    """Return the log of a server directory, empty for one that is to be made.  Raise ``ServerdirRefused`` for a replica's."""
    node = read_node(settings.serverdir)
    if settings.primary_url is not None or (node is not None and node.is_replica):
        raise ServerdirRefused(settings.serverdir, "it is a replica's, which has everything from its primary: import there")
    return node.log_id if node is not None and node.initialised else ""
