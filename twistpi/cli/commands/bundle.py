"""The commands ``bundle create``, ``bundle apply`` and ``bundle state``: entries and files for a server without a network."""

from __future__ import annotations

import os
import sys

import attrs
import click

from twistpi.blobs.tree import Tree
from twistpi.bundle.apply import Application, state_of
from twistpi.bundle.format import open_bundle
from twistpi.bundle.state import read_state
from twistpi.bundle.writer import BundleWriter
from twistpi.cli.administration import catch_up_if_stopped, require_made
from twistpi.cli.commands.common import FILE, now, settings_options, show, show_progress
from twistpi.model.server_errors import ServerdirRefused
from twistpi.model.text import counted, in_words
from twistpi.replication.primary import BY_BUNDLES, PrimaryAddress
from twistpi.server.directory import read_secret
from twistpi.server.node import read_node, write_durably
from twistpi.server.settings import Settings
from twistpi.server.storage import reading

_TO = click.option("--to", "to", metavar="FILE", type=FILE, required=True, help="The file to write.")


@click.group()
def bundle() -> None:
    """Carry entries and files to a server without a network, in one file."""


@bundle.command()
@settings_options("secretfile")
@click.option("--secretfile", metavar="PATH", type=FILE, help="The secret that the servers share.  [default: of the directory]")
@click.option("--since", metavar="SERIAL", type=click.IntRange(min=0), help="What comes after this entry; 0 is everything.")
@click.option("--for", "state", metavar="FILE", type=FILE, help="What the server lacks that wrote FILE: twistpi bundle state.")
@_TO
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
def create(settings: Settings, since: int | None, state: str | None, to: str, json: bool) -> None:
    """Write what an offline server lacks to one signed file.

    The server may run. The file has private packages and hashes of passwords: it is as secret as the server.
    """
    if (since is None) == (state is None):
        raise click.UsageError("name either --since SERIAL or --for FILE")
    path = settings.serverdir
    if settings.changelog is not None or settings.blobs is not None:
        raise ServerdirRefused(path, "its changelog is in PostgreSQL or its files are in a bucket; make the bundle on a replica")
    node = require_made(path)
    catch_up_if_stopped(settings, now)
    known = None if state is None else read_state(state)
    secret = read_secret(path, settings.secretfile)
    with reading(path) as reader, show_progress(sys.stderr) as progress:
        written = BundleWriter(path, node, reader, Tree(path), now, progress).run(to, secret, since or 0, known)
    about = written.description
    span = f"serial {about.since.serial} to {about.end.serial}"
    lines = [f"{to}: {span}; {counted(about.files, 'file')}, {in_words(about.bytes)}"]
    if written.missing:
        lines.insert(0, f"note: files that this server lacks itself, and so are not in the bundle: {len(written.missing):,}")
    show({"file": to, **attrs.asdict(about), "missing": written.missing} if json else None, lines)


@bundle.command()
@settings_options("secretfile")
@click.option("--secretfile", metavar="PATH", type=FILE, help="The secret that the servers share.  [default: of the directory]")
@click.option("--primary-url", metavar="URL", help="For a new directory: the primary, if it can be reached one day.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("file", metavar="FILE", type=FILE)
def apply(settings: Settings, primary_url: str | None, json: bool, file: str) -> None:
    """Bring what is in FILE into the directory of a replica.

    A directory that is missing or empty becomes a replica; it needs a bundle from serial 0, and --secretfile. Stop the server
    first. FILE is verified before anything is changed. An interrupted command is completed when it is run again.
    """
    path = settings.serverdir
    node = read_node(path)
    is_new = node is None or (node.is_replica and not node.log_id)
    if is_new and settings.secretfile is None:
        raise ServerdirRefused(path, "it is new, and needs the secret of its primary: name a copy of that file with --secretfile")
    if not is_new and primary_url is not None:
        raise click.UsageError("--primary-url is for a new directory; for others it is a setting of the server")
    try:
        PrimaryAddress.parse(primary_url or BY_BUNDLES)
    except ValueError:
        raise click.BadParameter(f"{primary_url} is no address such as https://pkgs.example/") from None
    secret = read_secret(path, settings.secretfile)
    with open_bundle(file, secret) as opened, show_progress(sys.stderr) as progress:
        application = Application(settings, opened, now, progress)
        if is_new:
            application.begin(primary_url or BY_BUNDLES, secret)
        done = application.run()
    brought = f"{counted(done.serial - done.since, 'entry', 'entries')} and {counted(done.files, 'file')}, {in_words(done.bytes)}"
    show({"serverdir": path, **attrs.asdict(done)} if json else None, [f"{path}: at serial {done.serial}; new: {brought}"])


@bundle.command()
@settings_options()
@_TO
def state(settings: Settings, to: str) -> None:
    """Write what an offline server has to a small file, for twistpi bundle create --for.

    Stop the server first. The file has names of files that are missing, and no secrets.
    """
    require_made(settings.serverdir)
    found = state_of(settings, now)
    write_durably(os.path.abspath(to), found.content(), 0o600)
    lacking = f"; missing: {counted(len(found.missing), 'file')}" if found.missing else ""
    click.echo(f"{to}: serial {found.last.serial}{lacking}")
