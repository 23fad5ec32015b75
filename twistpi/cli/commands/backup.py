"""The commands ``backup`` and ``restore``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import attrs
import click

from twistpi.backup.history import find_manifests
from twistpi.backup.manifest import Keep
from twistpi.backup.prune import Prune, Pruned
from twistpi.backup.restore import Restore
from twistpi.backup.target import Target
from twistpi.backup.verify import Verification
from twistpi.backup.writer import BackupWriter, missing_lines
from twistpi.cli.administration import catch_up_if_stopped, require_made
from twistpi.cli.commands.common import now, settings_options, show, show_progress
from twistpi.cli.commands.places import Access, access_options, open_store, parent_of
from twistpi.cli.log_entries import read_moment
from twistpi.model.server_errors import ServerdirRefused
from twistpi.model.text import counted, in_words
from twistpi.server.directory import read_secret
from twistpi.server.settings import Settings
from twistpi.server.storage import reading

_IN_DATABASE: Final = "its changelog is in PostgreSQL; back up that database, and the place of the files, by their own means"


def _read_keep(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Keep | None:
    try:
        return None if text is None else Keep.parse(text)
    except ValueError:
        raise click.BadParameter(f"{text} is neither a number of backups such as 48, nor of days such as 30d") from None


def _read_time(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(read_moment(text))
    except ValueError:
        raise click.BadParameter(f"{text} is no date or time such as 2026-11-22 or 2026-11-22T17:00+01:00") from None


@click.command()
@settings_options()
@access_options
@click.option(
    "--keep", metavar="N|DAYSd", callback=_read_keep, help="Keep N backups (48), or those of so many days (30d).  [default: all]"
)
@click.option("--verify", is_flag=True, help="Read everything in the backup back, and copy again what is damaged there.")
@click.option("--with-secret", is_flag=True, help="Back up the secret, too, so that logins stay valid after a restore.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("place", metavar="PLACE")
def backup(
    settings: Settings, access: Access, keep: Keep | None, verify: bool, with_secret: bool, json: bool, place: str
) -> None:
    """Back up the changelog and the files to PLACE; only what is new is copied.

    PLACE is a folder; or ssh://user@host/path or user@host:path, which rsync writes to; or s3://bucket/prefix. The server may
    run. Every new file is verified before it is copied. An interrupted backup is completed when the command is run again.
    """
    path = settings.serverdir
    if settings.changelog is not None:
        raise ServerdirRefused(path, _IN_DATABASE)
    node = require_made(path)
    catch_up_if_stopped(settings, now)
    secret = read_secret(path, settings.secretfile) + b"\n" if with_secret else None
    with open_store(place, access, settings) as store, reading(path) as reader, show_progress(sys.stderr) as progress:
        writer = BackupWriter(path, node, reader, store, now, progress)
        manifest = writer.run(secret=secret)
        verified = Verification(path, reader, store, progress)
        if verify:
            verified.run(manifest)
        pruned = Pruned() if keep is None else Prune(path, reader, store, progress).run(keep, now())
    lost = sum(one.is_private for one in manifest.missing) + len(verified.lost) + len(verified.history)
    end = manifest.end
    lines = [
        *missing_lines(manifest.missing),
        *_skipped_lines(writer.skipped),
        f"{place}: backed up to serial {end.serial}; new: {counted(manifest.files, 'file')}, {in_words(manifest.size)}",
    ]
    lines += [
        f"WRONG: {name} is damaged or missing in the backup, and the server does not have it either" for name in verified.lost
    ]
    lines += [f"WRONG: {text}" for text in verified.history]
    if verify:
        lines.append(f"{place}: verified {counted(verified.files, 'file')}; damaged and copied again: {verified.replaced:,}")
    if keep is not None:
        looked = f", {counted(pruned.files, 'file')}" if pruned.looked else ""
        looked += f", {counted(pruned.log_files, 'file')} of the changelog" if pruned.log_files else ""
        lines.append(f"{place}: dropped {counted(pruned.manifests, 'older backup')}{looked}")
    report = {"place": place, "serial": end.serial, "chain": end.chain, "files": manifest.files, "bytes": manifest.size}
    if verify:
        report |= {"verified": verified.files, "replaced": verified.replaced, "damaged-history": verified.history}
    fields = {**report, "missing": [attrs.asdict(one) for one in manifest.missing], "dropped": attrs.asdict(pruned)}
    show(fields if json else None, lines)
    sys.exit(1 if lost else 0)


def _skipped_lines(skipped: tuple[int, int] | None) -> Iterator[str]:
    """Yield lines about entries that were compacted before they could be backed up."""
    if skipped is not None:
        first, last = skipped
        yield f"note: the entries {first:,} to {last:,} were compacted before this backup; the summary of them is in it"


@click.command()
@settings_options()
@access_options
@click.option("--to-serial", metavar="N", type=click.IntRange(min=1), help="Restore the server as it was after this entry.")
@click.option("--to-time", metavar="TIME", callback=_read_time, help="As it was at this time (ISO 8601; UTC without a zone).")
@click.option("--accept-missing", is_flag=True, help="Go on without uploaded files that are not in the backup.")
@click.option("--list", "only_list", is_flag=True, help="List the backups in PLACE, and restore nothing.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("place", metavar="PLACE")
def restore(
    settings: Settings,
    access: Access,
    to_serial: int | None,
    to_time: datetime | None,
    accept_missing: bool,
    only_list: bool,
    json: bool,
    place: str,
) -> None:
    """Make a server directory of the backup in PLACE, which twistpi backup wrote.

    The directory (--serverdir) must be empty or missing. Without --to-serial or --to-time, the newest backup is restored. Every
    entry and every file is verified. An interrupted restore is completed when the command is run again.
    """
    if to_serial is not None and to_time is not None:
        raise click.UsageError("--to-serial and --to-time exclude each other")
    if only_list:
        with open_store(place, access, settings) as store:
            names = find_manifests(store)
        rows = [{"at": f"{name.at:%Y-%m-%dT%H:%M:%SZ}", "serial": name.serial} for name in names]
        show(rows if json else None, [f"{row['at']}  serial {row['serial']}" for row in rows] or [f"{place}: no backups"])
        return
    path = settings.serverdir

    with open_store(place, access, settings, parent_of(path)) as store, show_progress(sys.stderr) as progress:
        done = Restore(path, store, os.urandom, progress, accept_missing).run(Target(to_serial, to_time))
    copied = f"copied {counted(done.files, 'file')}, {in_words(done.bytes)}"
    lines = [*missing_lines(done.missing), f"{path}: restored to serial {done.end.serial} of {done.at}; {copied}"]
    if not done.has_secret:
        lines.append("note: the secret is not in the backup, so a new one was made: users log in again; API tokens stay valid")
    fields = {"serverdir": path, **attrs.asdict(done)}
    show(fields if json else None, lines)
