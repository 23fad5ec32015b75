"""How a word is written in the files of other programs, so that they read it as it is.

What no two of these programs write alike, and no path needs, is refused beforehand (``check_path``); what is left of characters
with a meaning is the space, the percent sign, and what only shells and XML care about.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from twistpi.model.deployment_errors import CannotBeWritten

_IN_NO_PATH: Final = frozenset("\"'`\\$;#{}<>,")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@+=:./-]", re.ASCII)


def check_path(what: str, path: str) -> str:
    """``path``, which ``what`` is about; raises ``CannotBeWritten`` for one with characters that mean something elsewhere."""
    strange = sorted({character for character in path if character in _IN_NO_PATH or not character.isprintable()})
    if strange:
        shown = " ".join(character if character.isprintable() else repr(character)[1:-1] for character in strange)
        raise CannotBeWritten(what, path, f"the characters {shown} mean something in such files; use a path without them")
    return path


def nginx(text: str) -> str:
    """One word for nginx."""
    return f'"{text}"'


def regex(text: str) -> str:
    """What matches ``text`` and nothing else."""
    return re.escape(text)


def supervisor_text(text: str) -> str:
    """A whole value for supervisor, in which a percent sign begins a substitution."""
    return text.replace("%", "%%")


def supervisor_path(path: str) -> str:
    """The path of a file that supervisor makes: there it looks for substitutions twice."""
    return supervisor_text(supervisor_text(path))


def supervisor_command(words: Sequence[str]) -> str:
    """A command for supervisor.  Each odd character has a backslash: quotes do not keep supervisor from seeing comments."""
    escaped = ("".join(one if _PLAIN.match(one) else f"\\{one}" for one in word) for word in words)
    return supervisor_text(" ".join(escaped))


def systemd(word: str) -> str:
    """One word for systemd, in which a percent sign begins a specifier."""
    return f'"{word.replace("%", "%%")}"' if " " in word else word.replace("%", "%%")


def systemd_command(words: Sequence[str]) -> str:
    """A command for systemd."""
    return " ".join(map(systemd, words))


def cron_text(command: str) -> str:
    """A shell command for cron, which makes line feeds of percent signs."""
    return command.replace("%", "\\%")


def cron(words: Sequence[str]) -> str:
    """The same, of words."""
    return cron_text(shlex.join(words))


def uwsgi_command(words: Sequence[str]) -> str:
    """A command for uWSGI's ``attach-daemon2``.  A shell runs it, and makes the percent signs, which mean something to uWSGI."""
    return shlex.join(words).replace("%", "'`printf '\\\\045'`'")


def toml(value: object) -> str:
    """A value in TOML: a flag, a number, text, or a sequence of these."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml, value))}]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "nginx": nginx,
    "regex": regex,
    "supervisor_text": supervisor_text,
    "supervisor_path": supervisor_path,
    "supervisor_command": supervisor_command,
    "systemd": systemd,
    "systemd_command": systemd_command,
    "cron": cron,
    "cron_text": cron_text,
    "uwsgi_command": uwsgi_command,
    "shell": shlex.quote,
    "xml": html.escape,
}
"""What templates call these."""
