"""The command ``gc``."""

from __future__ import annotations

import sys

import click

from twistpi.cli.administering import administer
from twistpi.cli.commands.common import now, serverdir_option, settings_of
from twistpi.cli.garbage import collected_lines, find_garbage_in, garbage_line, progress_of
from twistpi.cli.progress import show_progress


@click.command()
@serverdir_option
@click.option("--dry-run", is_flag=True, help="Only tell which files these are.")
def gc(serverdir: str | None, config: str | None, dry_run: bool) -> None:
    """Remove the stored files that no index has any more.

    What was stored in the last hour stays. A server does the same by itself, an hour after something was removed.
    """
    settings = settings_of(serverdir, config)
    with administer(settings, now) as administration, show_progress(sys.stderr, "folders") as show:
        tell = progress_of(show)
        if dry_run:
            path, present = settings.serverdir, now().timestamp()
            swept = find_garbage_in(path, administration.reader, present, tell, lambda one: show.say(garbage_line(one)))
        else:
            swept = administration.sweep(tell)
    for line in collected_lines(swept, dry_run=dry_run):
        click.echo(line)
