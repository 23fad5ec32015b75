"""Print ``commands.rst``, the page of all commands: what they say of themselves."""

from __future__ import annotations

import click

from twistpi.cli.commands.help import EXAMPLES, every_command, status_of
from twistpi.cli.main import main

_HEAD = """\
Commands
========

.. Made by "make docs" from twistpi/cli/commands.

``twistpi serve`` starts the server; its options are the :doc:`settings`. All other tasks have a command, too;
``twistpi COMMAND --help`` prints the same text as this page.

Commands for a server directory take ``--serverdir``, or read it from ``TWISTPI_SERVERDIR`` or the file in ``--config`` or
``TWISTPI_CONFIG``, like the server. They work whether or not a server runs on the directory. If one runs, they send it a request,
so that changes take effect at once.

Long commands show their progress, as a bar on a terminal, otherwise as lines on the error stream. Ctrl-C ends every
command safely, with exit status 130. Otherwise the exit status is 0, 1 when something failed or is wrong, or 2
when the command line is wrong. ``twistpi completion`` prints a script that completes commands and options in a shell.
"""


def page() -> str:
    """Return the page as reStructuredText."""
    return "\n".join([_HEAD, *(_section(path, command) for path, command in every_command(main))])


def _section(path: str, command: click.Command) -> str:
    """Return the section of the page on the command ``path``, as reStructuredText."""
    title, context = f"twistpi {path}", click.Context(command, info_name=f"twistpi {path}")
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    lines = [title, "-" * len(title), "", "::", "", f"    {usage}", ""]
    for paragraph in (command.help or "").split("\n\n"):
        lines += [_plain(paragraph), ""]
    options = (option.get_help_record(context) for option in command.params if isinstance(option, click.Option))
    for names, text in (record for record in options if record is not None):
        lines += [f"``{names}``", f"    {_plain(text)}", ""]
    examples = [f"    {example}" for example in EXAMPLES.get(path, ())]
    return "\n".join([*lines, "Examples::", "", *examples, "", f"Exit status: {status_of(path)}", ""])


def _plain(text: str) -> str:
    """Return ``text`` on one line, with reStructuredText's special characters escaped, except double backquotes."""
    return " ".join(text.split()).replace("*", r"\*").replace("|", r"\|").replace("_ ", r"\_ ")


if __name__ == "__main__":
    click.echo(page(), nl=False)
