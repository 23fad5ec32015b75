"""The command ``compact``: replaces the beginning of the changelog by a summary."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

from twistpi.changelog.archive import archive as archive_segments
from twistpi.changelog.compaction import Cut, find_cut
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base
from twistpi.changelog.places import position_before
from twistpi.changelog.summary import summary_path
from twistpi.cli.administration import administer, require_made
from twistpi.cli.commands.common import FOLDER, now, settings_options, show, show_progress
from twistpi.cli.compaction import make_summary
from twistpi.cli.log_entries import read_moment
from twistpi.model.records import Json
from twistpi.model.server_errors import ServerdirRefused
from twistpi.model.text import counted, in_words
from twistpi.server.directory import Layout
from twistpi.server.settings import Settings


def _read_before(_context: click.Context, _parameter: click.Parameter, text: str) -> int | str:
    """Return a serial, or a time as entries write it."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return read_moment(text)
    except ValueError:
        raise click.BadParameter(f"{text} is neither a serial nor a date or time such as 2026-11-22") from None


@click.command()
@settings_options()
@click.option("--before", metavar="DATE|SERIAL", required=True, callback=_read_before,
              help="Entries from this serial, date or time (ISO 8601; UTC without a zone) on stay.")  # fmt: skip
@click.option("--archive", metavar="DIR", type=FOLDER, help="First copy what is removed to this folder, and verify the copy.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "json", is_flag=True, help="Print the result as JSON.")
def compact(settings: Settings, before: int | str, archive: str | None, dry_run: bool, json: bool) -> None:
    """Replace old entries of the changelog by a summary.

    Only whole segments are removed, each of 64 MiB, and never the last one, so more entries stay than DATE or SERIAL says. The
    summary gives the same indexes, releases and files as the entries that it stands for; this is verified before anything is
    removed. The server may run, and replicas go on following. What happened in detail before, twistpi log does not tell any more,
    unless there is an archive.
    """
    node, directory, disk = require_made(settings.serverdir), Layout(settings.serverdir).changelog, Disk()
    if settings.changelog is not None:
        raise ServerdirRefused(settings.serverdir, "its changelog is in PostgreSQL, where it cannot be compacted")
    if not os.path.isdir(directory):
        raise ServerdirRefused(settings.serverdir, "its changelog is empty; restore the folder changelog from a backup")
    serial = before if isinstance(before, int) else position_before(directory, disk, before).serial + 1
    cut = find_cut(directory, disk, serial)
    fields: dict[str, Json] = {"serverdir": settings.serverdir, "dry-run": dry_run}
    if cut is None:
        fields |= {"entries": 0, "segments": 0, "removed-bytes": 0}
        begins_after = read_base(directory, disk)[0].serial
        text = f"Nothing to compact: no segment after serial {begins_after} ends before serial {serial}, and only whole ones go."
        show(fields if json else None, [text])
        return
    fields |= {"first": cut.after + 1, "last": cut.serial, "entries": cut.entries, "segments": len(cut.segments)}
    if dry_run:
        show(fields | {"removed-bytes": cut.size} if json else None, _lines(cut, "would be removed; nothing was changed."))
        return
    with administer(settings, now) as administration:  # the summary takes minutes: a refusal is to come before
        administration.require_ready()
    if archive is not None:
        archive_segments(directory, disk, cut, archive)
    with show_progress(sys.stderr, "bytes") as progress:
        sha256 = make_summary(directory, node.log_id, cut, lambda done, total: progress("summary", done, total))
    with administer(settings, now) as administration:
        removed = administration.compact(cut, sha256)
    size = os.path.getsize(summary_path(directory, cut.serial))
    fields |= {"removed-bytes": removed, "summary-bytes": size, "sha256": sha256, "archive": archive}
    told = f"were removed; a summary of {in_words(size)} stands for them."
    show(fields if json else None, _lines(cut, told if archive is None else f"{told} {archive} has them."))


def _lines(cut: Cut, what: str) -> Iterator[str]:
    segments = counted(len(cut.segments), "segment")
    yield f"The entries {cut.after + 1:,} to {cut.serial:,}, {in_words(cut.size)} in {segments}, {what}"
