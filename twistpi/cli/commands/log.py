"""The command ``log``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from twistpi.cli.commands.common import settings_options
from twistpi.cli.log_entries import KINDS, Start, Wanted, as_json, as_text, entries, missing_before, read_moment
from twistpi.model.names import normalize_project
from twistpi.server.directory import Layout
from twistpi.server.node import not_made, read_node
from twistpi.server.settings import Settings

_FOLLOW_PAUSE = 0.5
"""Seconds between two looks for new entries."""


def _read_since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else read_moment(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no date or time such as 2026-11-22 or 2026-11-22T17:00+01:00") from None


def _names(option: str, field: str, metavar: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return an option that may be repeated."""
    return click.option(option, field, metavar=metavar, multiple=True, help=f"{text} May be repeated.")


@click.command()
@settings_options()
@click.option("--after", metavar="SERIAL", type=click.IntRange(min=0), help="Begin after this serial.")
@click.option("--since", metavar="TIME", callback=_read_since, help="Begin at this date or time (ISO 8601; UTC without a zone).")
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="Begin with the last N entries that are selected.")
@click.option("--follow", is_flag=True, help="Continue with new entries until interrupted; alone, begin at the end.")
@_names("--project", "projects", "NAME", "Only entries about this project.")
@_names("--index", "indexes", "USER/INDEX", "Only entries about this index.")
@_names("--user", "users", "NAME", "Only entries of this author, such as alice or +mirror.")
@click.option("--kind", "kinds", type=click.Choice(KINDS, case_sensitive=False), metavar="KIND", multiple=True,
              help="Only entries with a change of this kind, such as FileUploaded. May be repeated.")  # fmt: skip
@click.option("--json", "json", is_flag=True, help="Print each entry as a JSON object on one line.")
def log(
    settings: Settings,
    after: int | None,
    since: str | None,
    last: int | None,
    follow: bool,
    projects: tuple[str, ...],
    indexes: tuple[str, ...],
    users: tuple[str, ...],
    kinds: tuple[str, ...],
    json: bool,
) -> None:
    """Print the entries of the changelog: what happened, when, and by whom.

    The place to begin is found without reading what is before it, and the chain of checksums is verified from there; twistpi
    check verifies all of it. An entry is printed as a whole if one of its changes is about a project, an index and of a kind that
    are selected. The server may run.
    """
    path = settings.serverdir
    if read_node(path) is None:
        raise not_made(path)
    directory, render = Layout(path).changelog, as_json if json else as_text
    wanted = Wanted(frozenset(users), frozenset(indexes), frozenset(map(normalize_project, projects)), frozenset(kinds))
    begin = Start(after, since, last).find(directory, wanted, follow=follow)
    missing = missing_before(directory, begin, after or 0)
    if missing is not None:
        click.echo(missing, err=True)
    try:
        for line in entries(directory, begin, (lambda: time.sleep(_FOLLOW_PAUSE)) if follow else None):
            if line.serial > (after or 0) and wanted.matches(line.body):
                click.echo(render(line))
    except KeyboardInterrupt:
        sys.exit(0)
