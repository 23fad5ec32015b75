"""Test results as tox writes them (``--result-json``) and ``devpi test`` posts them, and the table of those of a release.  Pure.

Anybody may post one by default, so nothing in it is taken for granted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import orjson

from twistpi.model.records import Json
from twistpi.model.releases import Attachment
from twistpi.model.text import one_line

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a result that is read."""
_MOST: Final = 200
"""Environments of a result, and commands of an environment."""
_LONGEST_OUTPUT: Final = 20_000
"""Characters of the output of a command that are shown: its end, where failures are described."""
_ALL_OUTPUT: Final = 150_000
"""The same of all commands of a result together."""


@attrs.frozen
class Command:
    """A command that was run, and what came of it."""

    command: str
    output: str
    """Its end, if it is long."""
    is_cut: bool
    exit_status: str
    passed: bool


@attrs.frozen
class TestedEnvironment:
    """An environment of tox in which a file was tested."""

    name: str
    python: str
    """The version of Python, as far as it is known."""
    setup: tuple[Command, ...]
    test: tuple[Command, ...]

    @property
    def passed(self) -> bool:
        """Whether every command ended well, and there was one."""
        commands = (*self.setup, *self.test)
        return bool(commands) and all(command.passed for command in commands)


@attrs.frozen
class ToxResult:
    """One run of tox."""

    host: str
    platform: str
    environments: tuple[TestedEnvironment, ...]

    @property
    def passed(self) -> bool:
        """Whether all environments passed, and there was one."""
        return bool(self.environments) and all(environment.passed for environment in self.environments)


def parse_tox_result(body: bytes) -> ToxResult | None:
    """Return the result in ``body``; None when it is not one."""
    try:
        told = orjson.loads(body) if len(body) <= LARGEST else None
    except orjson.JSONDecodeError:
        return None
    environments = _object(_object(told).get("testenvs"))
    if not isinstance(told, dict) or not isinstance(told.get("testenvs"), dict):
        return None
    budget = _Budget(_ALL_OUTPUT)
    return ToxResult(
        _text(told.get("host")),
        _text(told.get("platform")),
        tuple(_environment(name, environment, budget) for name, environment in list(environments.items())[:_MOST]),
    )


@attrs.define
class _Budget:
    """Characters of output that may still be shown."""

    left: int

    def end_of(self, text: str) -> str:
        size = min(_LONGEST_OUTPUT, self.left)
        kept = text[-size:] if size else ""
        self.left -= len(kept)
        return kept


def _environment(name: str, told: Json, budget: _Budget) -> TestedEnvironment:
    fields = _object(told)
    python = _text(_object(fields.get("python")).get("version"))
    setup, test = (_commands(fields.get(key), budget) for key in ("setup", "test"))
    return TestedEnvironment(one_line(name)[:200], python.partition(" ")[0], setup, test)


def _commands(told: Json, budget: _Budget) -> tuple[Command, ...]:
    return tuple(_command(_object(one), budget) for one in (told if isinstance(told, list) else [])[:_MOST])


def _command(fields: dict[str, Json], budget: _Budget) -> Command:
    words = fields.get("command")
    command = " ".join(map(str, words)) if isinstance(words, list) else str(words or "")
    output = fields.get("output")
    text = output if isinstance(output, str) else ""
    kept = budget.end_of(text)
    status = fields.get("retcode")
    return Command(one_line(command)[:2000], kept, len(kept) < len(text), one_line(str(status))[:20], status in (0, "0"))


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return one_line(value)[:200] if isinstance(value, str) else ""


# The table of a release ----------------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """The newest result of a file in an environment."""

    passed: bool
    attachment: Attachment
    """The result that says so."""


@attrs.frozen
class ResultTable:
    """The results of a release: where it was tested in rows, its files in columns."""

    files: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Outcome | None, ...]], ...]
    """Pairs of host, platform and environment in words, and the outcome for each file; None where it was not tested."""


def result_table(results: Iterable[tuple[Attachment, ToxResult | None]], files: Sequence[str]) -> ResultTable:
    """Return the table of ``results``, oldest first, of the files of these names; a newer result replaces an older one.

    A result that cannot be read counts for an environment without a name, and as failed.
    """
    found: dict[str, dict[str, Outcome]] = {}
    for attachment, result in results:
        tested = str(attachment.for_filename)
        if result is None:
            found.setdefault("unreadable result", {})[tested] = Outcome(False, attachment)
            continue
        for environment in result.environments:
            where = ", ".join(filter(None, (environment.name, result.platform, result.host)))
            found.setdefault(where, {})[tested] = Outcome(environment.passed, attachment)
    columns = tuple(name for name in files if any(name in outcomes for outcomes in found.values()))
    return ResultTable(columns, tuple((where, tuple(map(of_file.get, columns))) for where, of_file in sorted(found.items())))
