"""The command line of ``twistpi serve`` and ``twistd twistpi``, made from the table of settings, and the entrance of the plugin.

Loading this is cheap: whatever imports the reactor waits until twistd has chosen one and asks for the service.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.python import usage

from twistpi import __version__
from twistpi.model.errors import TwistpiError
from twistpi.server.restart import Inherited, continue_twistd
from twistpi.server.setting_sources import load_settings
from twistpi.server.settings import CONFIG, GROUPS, TABLE, Setting

_WIDTH = 110
"""Characters of a line of the help."""
_INDENT = " " * 12
"""Before what an option means."""


def _help(setting: Setting) -> str:
    """Return what the option of a setting means, with unit and default."""
    unit = f" ({setting.unit})" if setting.unit else ""
    default = "" if setting.is_flag else f" [default: {setting.shown_default}]"
    more = "; may be repeated" if setting.repeatable else ""
    return f"{setting.help}{unit}{more}{default}"


_TAKE_A_VALUE = [setting for setting in (CONFIG, *TABLE) if not setting.is_flag and not setting.repeatable]


class Options(usage.Options):
    """``twistd twistpi``'s options; after parsing, ``settings`` holds every setting."""

    # What follows are the names and types that usage.Options looks for.
    optFlags = [[setting.name, None, _help(setting)] for setting in TABLE if setting.is_flag]  # noqa: N815, RUF012
    optParameters = [[setting.name, None, None, _help(setting)] for setting in _TAKE_A_VALUE]  # noqa: N815, RUF012

    def __init__(self) -> None:
        super().__init__()
        self.repeated: dict[str, list[str]] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line; end the program for one that is wrong: twistd would show all of the help before the reason."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            sys.stderr.write(f"twistpi: {error}\nThe options are explained by: twistpi serve --help\n")
            sys.exit(2)

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return "Usage: twistpi serve [options]; or, with the options of twistd: twistd [its options] twistpi [options]"

    def getUsage(self, width: int | None = None) -> str:
        """Return the help: every option under its heading."""
        rows = {setting.name: setting for setting in (CONFIG, *TABLE)}
        lines = [
            "\nServe Python packages. Every option can also be an environment variable (TWISTPI_PORT=4040) or stand in the",
            "TOML file that --config names (port = 4040).",
        ]
        for heading, names in GROUPS.items():
            lines.append(f"\n{heading}:")
            for setting in map(rows.__getitem__, names):
                lines.append(f"    --{setting.name} {setting.kind.placeholder}".rstrip())
                lines += textwrap.wrap(_help(setting), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
        return "\n".join([*lines, "\nThe program:", "    --version", "    --help", ""])

    def opt_version(self) -> None:
        """Display the version of twistpi and exit."""
        sys.stdout.write(f"twistpi {__version__}\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read all settings."""
        given: dict[str, list[str]] = dict(self.repeated)
        for setting in (CONFIG, *TABLE):
            value = self.get(setting.name)
            if setting.is_flag and value:
                given[setting.name] = ["true"]
            elif not setting.is_flag and value is not None:
                given[setting.name] = [value]
        try:
            self.settings = load_settings(given, os.environ)
        except TwistpiError as error:
            raise usage.UsageError(str(error)) from None
        self.pidfile: str | None = None
        self.inherited = Inherited.take(os.environ)
        if self.inherited is not None:
            # Whom a server follows stands in its directory: the settings of one that was promoted may still name its primary.
            self.settings = attrs.evolve(self.settings, primary_url=None)
            assert self.parent is not None
            self.pidfile = continue_twistd(self.parent)


def _repeatable(setting: Setting) -> Callable[[Options, str], None]:
    """A method of the kind that ``usage.Options`` calls for each time that an option is given."""

    def note(options: Options, word: str) -> None:
        options.repeated.setdefault(setting.name, []).append(word)

    note.__doc__ = _help(setting)
    return note


for setting in TABLE:
    if setting.repeatable:
        setattr(Options, f"opt_{setting.field}", _repeatable(setting))


def makeService(options: Any) -> IService:
    """The service twistd runs; a server directory that cannot be used ends the program here, in the user's terminal."""
    from twistpi.server.service import make_service  # noqa: PLC0415 imports the reactor and Klein

    try:
        return make_service(options.settings, options.inherited, options.pidfile)
    except TwistpiError as error:
        sys.exit(f"twistpi: {error}")
