"""The command ``yank``."""

from __future__ import annotations

import click

from twistpi.cli.administering import administer
from twistpi.cli.commands.common import now, serverdir_option, settings_of
from twistpi.cli.marking import Yank
from twistpi.rules.yanks import read_yank


@click.command()
@serverdir_option
@click.option("--reason", metavar="TEXT", help="Why; installers show it to whoever insists on the version.")
@click.option("--undo", is_flag=True, help="Not yanked any more.")
@click.argument("index", metavar="USER/INDEX")
@click.argument("project")
@click.argument("version")
@click.argument("filename", nargs=-1)
def yank(
    serverdir: str | None,
    config: str | None,
    reason: str | None,
    undo: bool,
    index: str,
    project: str,
    version: str,
    filename: tuple[str, ...],
) -> None:
    """Yank a release of a private index, or only its files FILENAME.

    Installers take what is yanked only when somebody asks for exactly that version.
    """
    if undo and reason is not None:
        raise click.UsageError("--undo needs no --reason")
    yanked = False if undo else read_yank({"reason": reason})
    with administer(settings_of(serverdir, config), now) as administration:
        administration.yank(Yank(index, project, version, filename, yanked))
    what = ", ".join(filename) or f"{project} {version}"
    click.echo(f"{what} on {index}: {'not yanked any more' if undo else 'yanked'}.")
