"""Commands that change the contents of indexes and of the server directory: ``yank``, ``gc``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from twistpi.blobs.tree import ROOT, Tree
from twistpi.cli.administration import administer
from twistpi.cli.commands.common import now, settings_options
from twistpi.cli.progress import show_progress
from twistpi.cli.yank import Yank
from twistpi.gc.garbage import FOLDERS, GRACE, Collected, Garbage, find_garbage
from twistpi.rules.releases import read_yank
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
    with administer(settings, now) as administration, show_progress(sys.stderr, "folders") as progress:

        def tell(collected: Collected) -> None:
            progress("files", collected.folders, FOLDERS)

        def name(garbage: Garbage) -> None:
            progress.say(f"{ROOT}/{garbage.address.relative} ({garbage.size:,} bytes)")

        if dry_run:
            stored_before = now().timestamp() - GRACE
            collected = find_garbage(Tree(settings.serverdir), administration.reader, stored_before, tell, name)
        else:
            collected = administration.collect_garbage(tell)
    for line in _collected_lines(collected, dry_run=dry_run):
        click.echo(line)


def _collected_lines(collected: Collected, *, dry_run: bool) -> Iterator[str]:
    if collected.removed:
        files = "1 file" if collected.removed == 1 else f"{collected.removed:,} files"
        told = f"{files} with {collected.removed_bytes:,} bytes {'has' if collected.removed == 1 else 'have'} no name any more"
        yield f"{told}; {'nothing was changed' if dry_run else 'removed'}."
    else:
        yield "There is nothing to remove yet." if collected.young else f"Every one of {collected.blobs:,} files is needed."
    if collected.young:
        those = "1 more was" if collected.young == 1 else f"{collected.young:,} more were"
        yield f"{those} stored in the last hour: what has no name may be getting one, so it stays for now."
