"""Quoting of words in the configuration files of other programs.

What no two of these programs write alike, and no path needs, is refused beforehand (``check_path``); what is left of characters
with a meaning is the space, the percent sign, and what only shells and XML care about.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from twistpi.cli.errors import CommandRefused

_IN_NO_PATH: Final = frozenset("\"'`\\$;#{}<>,")


def cannot_be_written(what: str, value: str, reason: str) -> CommandRefused:
    """Return the refusal of a value that some file could not hold."""
    return CommandRefused(f"No configuration can be written for {what} {value!r}: {reason}.")


def check_path(what: str, path: str) -> str:
    """Return the path of ``what``; raise ``CommandRefused`` if it has characters that mean something in such files."""
    strange = sorted({character for character in path if character in _IN_NO_PATH or not character.isprintable()})
    if strange:
        shown = " ".join(character if character.isprintable() else repr(character)[1:-1] for character in strange)
        reason = f"the characters {shown} mean something in such files; use a path without them"
        raise cannot_be_written(what, path, reason)
    return path


def _doubled(text: str) -> str:
    """Return text for supervisor and systemd, in which a percent sign begins a substitution."""
    return text.replace("%", "%%")


def _supervisor_command(words: Sequence[str]) -> str:
    """Return a command. Each odd character has a backslash: quotes do not keep supervisor from seeing comments."""
    return _doubled(" ".join(re.sub(r"[^A-Za-z0-9_@+=:./-]", r"\\\g<0>", word) for word in words))


def _systemd(word: str) -> str:
    return f'"{_doubled(word)}"' if " " in word else _doubled(word)


def _cron_text(command: str) -> str:
    """Return a shell command for cron, which makes line feeds of percent signs."""
    return command.replace("%", "\\%")


def toml(value: object) -> str:
    """Return a value in TOML: a flag, a number, text, or a sequence of these."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml, value))}]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "nginx": '"{}"'.format,
    "regex": re.escape,
    "supervisor_text": _doubled,
    "supervisor_path": lambda path: _doubled(_doubled(path)),  # there supervisor looks for substitutions twice
    "supervisor_command": _supervisor_command,
    "systemd": _systemd,
    "systemd_command": lambda words: " ".join(map(_systemd, words)),
    "cron": lambda words: _cron_text(shlex.join(words)),
    "cron_text": _cron_text,
    # A shell runs it, and makes the percent signs, which mean something to uWSGI.
    "uwsgi_command": lambda words: shlex.join(words).replace("%", "'`printf '\\\\045'`'"),
    "shell": shlex.quote,
    "xml": html.escape,
}
"""What templates call the ways to write text, a word, a path or a command, by the program that reads it."""
