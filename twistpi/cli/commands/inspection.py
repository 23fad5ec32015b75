"""Commands that look into a server directory and change nothing: ``status``, ``log``, ``check``, ``explain``, ``settings``."""

from __future__ import annotations

import sys
import time

import click

from twistpi.cli.administration import administer
from twistpi.cli.commands.common import now, settings_options, show
from twistpi.cli.explanation import explain_project, explanation_lines
from twistpi.cli.log import as_json, as_text, entries, missing_before
from twistpi.cli.progress import show_progress
from twistpi.cli.settings_page import settings_page
from twistpi.cli.status import status_in, status_lines, wait_for_serial
from twistpi.model.storage_errors import ServerdirRefused
from twistpi.server.directory import Layout
from twistpi.server.node import read_node
from twistpi.server.settings import Settings

_FOLLOW_PAUSE = 0.5
"""Seconds between two looks for new entries."""


@click.command()
@settings_options()
@click.option("--wait", metavar="SERIAL", type=click.IntRange(min=0), help="First wait until the server has this serial.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="The longest time to wait.  [default: no limit]")
@click.option("--json", "json", is_flag=True, help="Print the answer of /+status as JSON.")
def status(settings: Settings, wait: int | None, timeout: float | None, json: bool) -> None:
    """Show a server's role, the state of its log and its files, and its followers.

    If no server runs, show what the directory contains.
    """
    path = settings.serverdir
    found = status_in(path) if wait is None else wait_for_serial(path, wait, timeout, time.monotonic, time.sleep)
    show(found if json else None, status_lines(found, time.time()))
    if wait is not None and int(found["serial"]) < wait:
        click.echo(f"Serial {wait} has not arrived yet.", err=True)
        sys.exit(1)


@click.command()
@settings_options()
@click.option("--after", metavar="SERIAL", type=click.IntRange(min=0), default=0, help="Begin after this serial.")
@click.option("--follow", is_flag=True, help="Continue with new entries as they are written, until interrupted.")
@click.option("--json", "json", is_flag=True, help="Print each entry as a JSON object on one line.")
def log(settings: Settings, after: int, follow: bool, json: bool) -> None:
    """Print the entries of the changelog: what happened, when, and by whom.

    The chain of checksums is verified at the same time. The server may run.
    """
    path = settings.serverdir
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
@settings_options()
def check(settings: Settings) -> None:
    """Verify the changelog, the view and every stored file, and change nothing.

    The command reads all data, so it takes as long as reading the disk. The server may run.
    """
    from twistpi.cli.check import check as findings  # noqa: PLC0415 opens databases and blobs, which the other commands don't

    path = settings.serverdir
    wrong = 0
    with show_progress(sys.stderr, "bytes") as progress:
        for finding in findings(path, progress):
            wrong += finding.wrong
            progress.say(f"{'WRONG' if finding.wrong else 'note'}: {finding.text}")
    things = "thing is" if wrong == 1 else "things are"
    click.echo(f"{path}: {wrong} {things} wrong" if wrong else f"{path}: all is well")
    sys.exit(1 if wrong else 0)


@click.command()
@settings_options()
@click.argument("index", metavar="USER/INDEX")
@click.argument("project")
@click.argument("version", required=False)
def explain(settings: Settings, index: str, project: str, version: str | None) -> None:
    """Show which index answers for PROJECT at USER/INDEX, and what hides what.

    With VERSION, show where each of its files comes from.
    """
    with administer(settings, now) as administration:
        told = explain_project(administration, index, project, version)
    for line in explanation_lines(index, told):
        click.echo(line)


@click.command("settings")
def settings_() -> None:
    """Print the documentation of every setting of the server."""
    click.echo(settings_page(), nl=False)
