"""The command ``completion``, and the hidden one that prints the documentation of all commands."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from twistpi.cli.commands.examples import EXAMPLES, every_command, status_of
from twistpi.cli.commands_page import CommandHelp, commands_page

_PROGRAM, _VARIABLE = "twistpi", "_TWISTPI_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that has a shell complete twistpi's commands and options.

    Put it where the shell looks for such scripts, as below, and start a new shell; or try it at once: eval "$(twistpi completion
    bash)".
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click cannot complete for {shell}")
    click.echo(kind(click.Group(), {}, _PROGRAM, _VARIABLE).source())


@click.command("commands-page", hidden=True)
@click.pass_context
def commands_page_(context: click.Context) -> None:
    """Print the documentation of the commands."""
    root = context.find_root().command
    if not isinstance(root, click.Group):
        sys.exit(1)
    told = [_told(path, command) for path, command in every_command(root)]
    click.echo(commands_page(told), nl=False)


def _told(path: str, command: click.Command) -> CommandHelp:
    usage = command.get_usage(click.Context(command, info_name=f"{_PROGRAM} {path}"))
    return CommandHelp(path, usage, _text(command), _options(command), EXAMPLES.get(path, ()), status_of(path))


def _text(command: click.Command) -> list[str]:
    """The paragraphs of a command's help, without marks for the terminal."""
    return [" ".join(part.split()) for part in (command.help or "").split("\n\n")]


def _options(command: click.Command) -> list[tuple[str, str]]:
    context = click.Context(command)
    records = (parameter.get_help_record(context) for parameter in command.params if isinstance(parameter, click.Option))
    return [(names, " ".join(text.split())) for record in records if record is not None for names, text in [record]]
