"""Commands that look into a server directory and change nothing: ``log``, ``check``, ``settings``."""

from __future__ import annotations

import sys
import time

import click

from twistpi.cli.commands.common import serverdir_option, settings_of
from twistpi.cli.log import as_json, as_text, entries, missing_before
from twistpi.cli.progress import show_progress
from twistpi.cli.settings_page import settings_page
from twistpi.model.errors import ServerdirRefused
from twistpi.server.directory import Layout
from twistpi.server.node import read_node

_FOLLOW_PAUSE = 0.5
"""Seconds between two looks for new entries."""


@click.command()
@serverdir_option
@click.option("--after", metavar="SERIAL", type=click.IntRange(min=0), default=0, help="Begin behind this serial.")
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until interrupted.")
@click.option("--json", "json", is_flag=True, help="One JSON object per entry and line.")
def log(serverdir: str | None, config: str | None, after: int, follow: bool, json: bool) -> None:
    """Print the entries of the changelog: what happened, when, and by whom.

    The chain of checksums is verified on the way. The server may run.
    """
    path = settings_of(serverdir, config).serverdir
    if read_node(path) is None:
        raise ServerdirRefused(path, "nothing is in it yet; start twistpi once, or name another directory")
    render = as_json if json else as_text
    missing = missing_before(Layout(path).changelog, after)
    if missing is not None:
        click.echo(missing, err=True)
    try:
        for line in entries(Layout(path).changelog, after, (lambda: time.sleep(_FOLLOW_PAUSE)) if follow else None):
            click.echo(render(line))
    except KeyboardInterrupt:
        sys.exit(0)


@click.command()
@serverdir_option
def check(serverdir: str | None, config: str | None) -> None:
    """Check the changelog, the view and every kept file, and change nothing.

    Reads everything there is, so it takes as long as reading the disk does. The server may run.
    """
    from twistpi.cli.check import check as findings  # noqa: PLC0415 opens databases and blobs, which the other commands don't

    path = settings_of(serverdir, config).serverdir
    wrong = 0
    with show_progress(sys.stderr, "bytes") as progress:
        for finding in findings(path, progress):
            wrong += finding.wrong
            progress.say(f"{'WRONG' if finding.wrong else 'note'}: {finding.text}")
    things = "thing is" if wrong == 1 else "things are"
    click.echo(f"{path}: {wrong} {things} wrong" if wrong else f"{path}: all is well")
    sys.exit(1 if wrong else 0)


@click.command()
def settings() -> None:
    """Print the documentation of every setting of the server."""
    click.echo(settings_page(), nl=False)
