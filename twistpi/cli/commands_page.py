"""The documentation page of the commands, made from what their help says."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

_HEAD = """\
Commands
========

.. Made by "make docs" from twistpi/commands.

The server is ``twistd twistpi``; its options are the :doc:`settings`. Everything else is ``twistpi`` with a command behind it;
``twistpi COMMAND --help`` says what stands here.

Commands about a server directory take ``--serverdir``, or find it in ``TWISTPI_SERVERDIR`` or the file that ``--config`` or
``TWISTPI_CONFIG`` names, as the server does. They work whether or not a server runs on the directory: if one does, they ask it,
so that what they change counts at once.

What takes long shows how far it is, as a bar on a terminal, as plain lines on the error stream elsewhere. Ctrl-C ends every
command and leaves things whole; the exit status is 130 then. Otherwise it is 0, or 1 when something was refused or is wrong, or 2
when the command line was not understood. ``twistpi completion`` has a shell complete commands and options.
"""


@attrs.frozen
class CommandHelp:
    """What a command says of itself."""

    path: str
    """``token list``."""
    usage: str
    """``Usage: twistpi token list [OPTIONS]``."""
    paragraphs: Sequence[str]
    options: Sequence[tuple[str, str]]
    """Names, and what they mean."""
    examples: Sequence[str]
    status: str


def commands_page(commands: Sequence[CommandHelp]) -> str:
    """The page, as reStructuredText."""
    return "\n".join([_HEAD, *(_section(command) for command in commands)])


def _section(command: CommandHelp) -> str:
    title = f"twistpi {command.path}"
    usage = " ".join(command.usage.removeprefix("Usage: ").split())
    lines = [title, "-" * len(title), "", "::", "", f"    {usage}", ""]
    for paragraph in command.paragraphs:
        lines += [_plain(paragraph), ""]
    for names, text in command.options:
        lines += [f"``{names}``", f"    {_plain(text)}", ""]
    lines += ["Examples::", "", *(f"    {example}" for example in command.examples), "", f"Exit status: {command.status}", ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text in which nothing means anything to reStructuredText but double backquotes."""
    return text.replace("*", r"\*").replace("|", r"\|").replace("_ ", r"\_ ")
