"""The command ``explain``."""

from __future__ import annotations

import click

from twistpi.cli.administering import administer
from twistpi.cli.commands.common import now, serverdir_option, settings_of
from twistpi.cli.explaining import explain_project, explanation_lines


@click.command()
@serverdir_option
@click.argument("index", metavar="USER/INDEX")
@click.argument("project")
@click.argument("version", required=False)
def explain(serverdir: str | None, config: str | None, index: str, project: str, version: str | None) -> None:
    """Tell which index answers for PROJECT at USER/INDEX, and what hides what.

    With VERSION, which of its files come from where.
    """
    with administer(settings_of(serverdir, config), now) as administration:
        told = explain_project(administration, index, project, version)
    for line in explanation_lines(index, told):
        click.echo(line)
