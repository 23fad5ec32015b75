"""What all commands share: the options for the server directory, how errors are shown, and progress."""

from __future__ import annotations

import functools
import os
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import attrs
import click
import orjson

from twistpi.model.errors import TwistpiError
from twistpi.server.setting_sources import load_settings, unknown_variables
from twistpi.server.settings import CONFIG, Settings

Command = Callable[..., None]
FOLDER, FILE = click.Path(file_okay=False), click.Path(dir_okay=False)
"""For completion in shells; the folder or file need not exist."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as in shells."""
_STEPS = 10
"""Plain lines for one thing that is read, at most."""
_BETWEEN = 5.0
"""Seconds before the first plain line, and between two: quick work prints nothing."""


class Commands(click.Group):
    """Commands under headings.  Errors are one line on the error stream and exit status 1; Ctrl-C is 130."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.headings: dict[str, list[str]] = {}

    def add_group(self, heading: str, commands: Sequence[click.Command]) -> None:
        """Add commands, which the help shows in this order, below ``heading``."""
        for command in commands:
            self.add_command(command)
            self.headings.setdefault(heading, []).append(str(command.name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the headings and what is below each."""
        for heading, names in self.headings.items():
            rows = [(name, self.commands[name].get_short_help_str(100)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(rows)

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. Completed work is kept; a server that is executing the request continues.", err=True)
            context.exit(INTERRUPTED)
        except TwistpiError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:
            raise  # click ends quietly
        except PermissionError as error:
            advice = "run this as the user who owns the server directory, or give this user access"
            raise click.ClickException(f"{error.strerror}: {error.filename}; {advice}") from None
        except OSError as error:
            named = "" if error.filename is None else f": {error.filename}"
            raise click.ClickException(f"{error.strerror or error}{named}") from None
        except sqlite3.Error as error:
            advice = "twistpi check tells what is wrong; the view is built anew when it was removed"
            raise click.ClickException(f"The view in the server directory cannot be read: {error}; {advice}.") from None


def serverdir_option(command: Command) -> Command:
    """Add ``--serverdir`` and ``--config``."""
    text = "The server directory; also set by TWISTPI_SERVERDIR or in the file of --config.  [default: ~/.twistpi/server]"
    command = click.option("--config", metavar="PATH", type=FILE, help="The TOML file with the server's settings.")(command)
    return click.option("--serverdir", metavar="PATH", type=FOLDER, help=text)(command)


def settings_options(*fields: str) -> Callable[[Command], Command]:
    """Add ``--serverdir`` and ``--config``, and pass the settings as the command's first argument.

    ``fields`` are other options of the command that are settings, too.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(serverdir: str | None, config: str | None, **options: Any) -> None:
            given = {field: options.pop(field) for field in fields}
            command(settings_of(serverdir, config, **given), **options)

        return serverdir_option(run)

    return decorate


def settings_of(serverdir: str | None, config: str | None, **others: str | bool | None) -> Settings:
    """Return the settings as the server with the same options, environment and file has them; ``others`` by field."""
    given: Mapping[str, str | bool | None] = {"serverdir": serverdir, CONFIG.name: config, **others}
    texts = {name: "true" if value is True else value for name, value in given.items()}
    for sentence in unknown_variables(os.environ):
        click.echo(f"Ignored: {sentence}.", err=True)
    return load_settings({name.replace("_", "-"): [text] for name, text in texts.items() if text}, os.environ)


def show(fields: object, lines: Iterable[str]) -> None:
    """Print ``fields`` as JSON; ``lines`` when there are none."""
    click.echo("\n".join(lines) if fields is None else orjson.dumps(fields, option=orjson.OPT_INDENT_2))


def trusted(settings: Settings) -> ssl.SSLContext:
    """Return the certificates that are trusted: the system's, and those of the settings."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    return context


def now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


@attrs.define
class Progress:
    """Shows how far a command is: a bar for each thing that is read on a terminal, elsewhere a line at each tenth."""

    _stream: TextIO
    _unit: str
    _seconds: Callable[[], float]
    _told_at: float
    _last: tuple[str, int] = ("", 0)
    """What was shown, and how many tenths or steps of it."""
    _update: Callable[[int], None] = lambda steps: None
    _bars: ExitStack = attrs.field(factory=ExitStack)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so much of ``what`` is done."""
        if self._stream.isatty():
            if what != self._last[0]:
                self.finish()
                bar = click.progressbar(length=max(total, 1), label=f"{what:10}", file=self._stream)
                self._update, self._last = self._bars.enter_context(bar).update, (what, 0)
            self._update(done - self._last[1])
            self._last = what, done
            return
        step = _STEPS * done // max(total, 1)
        if step > 0 and (what, step) != self._last and self._seconds() >= self._told_at + _BETWEEN:
            self._last, self._told_at = (what, step), self._seconds()
            click.echo(f"{what}: {100 * step // _STEPS} % of {f'{total:,} {self._unit}'.rstrip()}", file=self._stream)

    def say(self, line: str) -> None:
        """Print a line on the standard output."""
        self.finish()
        click.echo(line)

    def finish(self) -> None:
        """Close the bar, if there is one."""
        if self._stream.isatty():
            self._bars.close()
            self._last = "", 0


@contextmanager
def show_progress(stream: TextIO, unit: str = "", seconds: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Return what shows progress on a stream, counted in ``unit``; ``seconds`` is a steady clock."""
    shown = Progress(stream, unit, seconds, seconds())
    try:
        yield shown
    finally:
        shown.finish()
