"""The command ``twistpi``: looks into a server directory.  The server itself is ``twistd twistpi``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from twistpi import __version__
from twistpi.model.errors import ServerdirRefused, TwistpiError
from twistpi.ops.log import as_json, as_text, entries
from twistpi.ops.progress import show_progress
from twistpi.ops.settings_page import settings_page
from twistpi.serverdir import Layout, read_node
from twistpi.settings import CONFIG, load_settings

_FOLLOW_PAUSE = 0.5
"""Seconds between two looks for new entries."""


class _Commands(click.Group):
    """Commands whose refusals are one line on the error stream, and exit status 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TwistpiError as error:
            raise click.ClickException(str(error)) from None


def _serverdir_option(command: Callable[..., None]) -> Callable[..., None]:
    text = "The server directory; TWISTPI_SERVERDIR and --config say it too.  [default: ~/.twistpi/server]"
    command = click.option("--config", metavar="PATH", help="The TOML file with the server's settings.")(command)
    return click.option("--serverdir", metavar="PATH", help=text)(command)


def _find_serverdir(serverdir: str | None, config: str | None) -> str:
    """Where the server directory is, as the server with the same settings would find it."""
    given = {"serverdir": serverdir, CONFIG.name: config}
    return load_settings({name: [text] for name, text in given.items() if text is not None}, os.environ).serverdir


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="twistpi", message="%(prog)s %(version)s")
def main() -> None:
    """Look into a twistpi server directory. (The server itself: twistd twistpi --help.)"""


@main.command()
@_serverdir_option
@click.option("--after", metavar="SERIAL", type=click.IntRange(min=0), default=0, help="Begin behind this serial.")
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until interrupted.")
@click.option("--json", "json", is_flag=True, help="One JSON object per entry and line.")
def log(serverdir: str | None, config: str | None, after: int, follow: bool, json: bool) -> None:
    """Print the entries of the changelog."""
    path = _find_serverdir(serverdir, config)
    if read_node(path) is None:
        raise ServerdirRefused(path, "nothing is in it yet; start twistpi once, or name another directory")
    render = as_json if json else as_text
    try:
        for line in entries(Layout(path).changelog, after, (lambda: time.sleep(_FOLLOW_PAUSE)) if follow else None):
            click.echo(render(line))
    except KeyboardInterrupt:
        sys.exit(0)


@main.command()
@_serverdir_option
def check(serverdir: str | None, config: str | None) -> None:
    """Check the changelog, the view and every file; exit status 1 when something is wrong."""
    from twistpi.ops.check import check as findings  # noqa: PLC0415 opens databases and blobs, which the other commands don't

    path = _find_serverdir(serverdir, config)
    wrong = 0
    with show_progress(sys.stderr) as progress:
        for finding in findings(path, progress):
            wrong += finding.wrong
            click.echo(f"{'WRONG' if finding.wrong else 'note'}: {finding.text}")
    things = "thing is" if wrong == 1 else "things are"
    click.echo(f"{path}: {wrong} {things} wrong" if wrong else f"{path}: all is well")
    sys.exit(1 if wrong else 0)


@main.command()
def settings() -> None:
    """Print the documentation of the server's settings."""
    click.echo(settings_page(), nl=False)
