"""The command ``status``."""

from __future__ import annotations

import sys
import time

import click
import orjson

from twistpi.cli.commands.common import serverdir_option, settings_of
from twistpi.cli.standing import status_in, status_lines, wait_for_serial


@click.command()
@serverdir_option
@click.option("--wait", metavar="SERIAL", type=click.IntRange(min=0), help="First wait until this serial is here.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait no longer.  [default: for ever]")
@click.option("--json", "json", is_flag=True, help="What /+status says, as JSON.")
def status(serverdir: str | None, config: str | None, wait: int | None, timeout: float | None, json: bool) -> None:
    """Tell what a server is, how far its log and its files are, and who follows it.

    Without a running server, what the directory says.
    """
    path = settings_of(serverdir, config).serverdir
    found = status_in(path) if wait is None else wait_for_serial(path, wait, timeout, time.monotonic, time.sleep)
    if json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in status_lines(found, time.time()):
            click.echo(line)
    if wait is not None and int(found["serial"]) < wait:
        click.echo(f"Serial {wait} is not here yet.", err=True)
        sys.exit(1)
