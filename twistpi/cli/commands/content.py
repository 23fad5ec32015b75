"""Commands that change the contents of indexes and of the server directory: ``yank``, ``gc``."""

from __future__ import annotations

import sys

import click

from twistpi.cli.administering import administer
from twistpi.cli.commands.common import now, settings_options
from twistpi.cli.garbage import collected_lines, find_garbage_in, garbage_line, progress_of
from twistpi.cli.marking import Yank
from twistpi.cli.progress import show_progress
from twistpi.rules.yanks import read_yank
from twistpi.server.settings import Settings


@click.command()
@settings_options()
@click.option("--reason", metavar="TEXT", help="The reason, which installers show when a user installs the version anyway.")
@click.option("--undo", is_flag=True, help="Reverse the yank.")
@click.argument("index", metavar="USER/INDEX")
@click.argument("project")
@click.argument("version")
@click.argument("filename", nargs=-1)
def yank(
    settings: Settings, reason: str | None, undo: bool, index: str, project: str, version: str, filename: tuple[str, ...]
) -> None:
    """Yank a release of a private index, or only its files FILENAME.

    Installers choose a yanked release only if a requirement names exactly that version.
    """
    if undo and reason is not None:
        raise click.UsageError("--undo needs no --reason")
    yanked = False if undo else read_yank({"reason": reason})
    with administer(settings, now) as administration:
        administration.yank(Yank(index, project, version, filename, yanked))
    what = ", ".join(filename) or f"{project} {version}"
    click.echo(f"{what} on {index}: {'not yanked any more' if undo else 'yanked'}.")


@click.command()
@settings_options()
@click.option("--dry-run", is_flag=True, help="Only list the files.")
def gc(settings: Settings, dry_run: bool) -> None:
    """Delete stored files that no index uses any more.

    Files stored within the last hour are kept. A running server does this by itself, an hour after something was removed.
    """
    with administer(settings, now) as administration, show_progress(sys.stderr, "folders") as show:
        tell = progress_of(show)
        if dry_run:
            path, present = settings.serverdir, now().timestamp()
            swept = find_garbage_in(path, administration.reader, present, tell, lambda one: show.say(garbage_line(one)))
        else:
            swept = administration.sweep(tell)
    for line in collected_lines(swept, dry_run=dry_run):
        click.echo(line)
