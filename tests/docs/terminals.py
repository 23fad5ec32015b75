"""The terminals of the tutorial: its console blocks, typed into shells as a reader would, and what the page says they answer.

A block is ``.. code-block:: console``.  Lines that begin with ``$`` are typed, ``>`` goes on, ``^C`` is that key; the lines below
are the answer, in which ``…`` is anything, and is any number of lines where it stands alone.  A block with the caption *First
terminal* belongs to the terminal in which the server runs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

FIRST = "First terminal"
_BLOCK = re.compile(r"^\.\. code-block:: console\n((?:   :.*\n)*)\n((?:   .*\n|\n)+)", re.MULTILINE)
_ANYTHING = "…"
_PATIENCE = 300.0
_END = "---- that was it:"
_HEARING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
"""Becomes a program that hears Ctrl-C: what a shell runs in the background is deaf to it, with all that it starts."""


@attrs.frozen
class Step:
    """Something that is typed, and what is seen then."""

    terminal: str
    """The caption of its block; empty for the terminal in which most happens."""
    typed: str
    """A command, maybe of several lines, or ``^C``."""
    seen: Sequence[str]

    def matches(self, told: str, *, so_far: bool = False) -> bool:
        """Whether ``told`` is what the page says; ``so_far``: whether it begins like that."""
        parts = []
        for line in self.seen:
            words = [re.escape(word) for word in line.split(_ANYTHING)]
            parts.append(r"(?:.*\n)*?" if line == _ANYTHING else "[^\n]*".join(words) + r" *\n")
        pattern = re.compile("".join(parts))
        return bool(pattern.match(told) if so_far else pattern.fullmatch(told))


def steps(page: str) -> Iterator[Step]:
    """Every step of a page, in order."""
    for block in _BLOCK.finditer(page):
        caption = re.search(r":caption: (.*)", block[1])
        lines = [line[3:] for line in block[2].rstrip("\n").split("\n")]
        yield from _steps(caption[1] if caption else "", lines)


def _steps(terminal: str, lines: Sequence[str]) -> Iterator[Step]:
    typed, seen = "", list[str]()
    for line in lines:
        if line == "^C" or line.startswith("$ "):
            if typed:
                yield Step(terminal, typed, tuple(seen))
            typed, seen = line.removeprefix("$ "), []
        elif line.startswith("> ") and not seen:
            typed += "\n" + line.removeprefix("> ")
        else:
            seen.append(line)
    yield Step(terminal, typed, tuple(seen))


@attrs.define(eq=False)
class Terminals:
    """Two shells in the same folder; blocking."""

    folder: Path
    environment: dict[str, str]
    _shell: subprocess.Popen[str] | None = None
    _server: subprocess.Popen[bytes] | None = None

    def follow(self, page: Iterable[Step], port: str, instead: int) -> None:
        """Do every step, with another port than the page names."""
        for step in page:
            typed, *seen = (re.sub(rf"\b{port}\b", str(instead), text) for text in (step.typed, *step.seen))
            self.do(Step(step.terminal, typed, seen))

    def do(self, step: Step) -> None:
        """Type what it says and see what it says; ``AssertionError`` where something else comes."""
        if step.terminal != FIRST:
            self._type(step)
        elif step.typed == "^C":
            self._interrupt()
        else:
            self._serve(step)

    def close(self) -> None:
        """End both, whatever they do."""
        for process in (self._server, self._shell):
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._shell is not None:
            assert self._shell.stdin is not None
            assert self._shell.stdout is not None
            self._shell.stdout.close()
            self._shell.stdin.close()

    def _type(self, step: Step) -> None:
        if self._shell is None:
            self._shell = subprocess.Popen(
                ["bash", "--norc"], cwd=self.folder, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip
        shell = self._shell
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(f'{{ {step.typed}\n}} </dev/null\necho "{_END} $?"\n')
        shell.stdin.flush()
        told: list[str] = []
        limit = threading.Timer(_PATIENCE, shell.kill)
        limit.start()
        try:
            for line in iter(shell.stdout.readline, ""):
                rest, end, status = line.partition(_END)
                if end:
                    told += [f"{rest}\n"] if rest else []  # an answer that does not end its last line
                    break
                told.append(line)
            else:
                raise AssertionError(f"$ {step.typed}\nhas no end:\n{''.join(told)}")
        finally:
            limit.cancel()
        answer = "".join(told)
        assert status == " 0\n", f"$ {step.typed}\n{answer}"
        assert step.matches(answer), f"$ {step.typed}\nanswers\n{answer}\nand not\n" + "\n".join(step.seen)

    def _serve(self, step: Step) -> None:
        log = self.folder / "first-terminal.log"
        with log.open("wb") as stream:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _HEARING, "bash", "--norc", "-c", f". env/bin/activate; exec {step.typed}"],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE
        while not step.matches(told := log.read_text(errors="replace"), so_far=True):
            assert self._server.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.02)

    def _interrupt(self) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGINT)
        self._server.wait(_PATIENCE)
        assert "Stopped." in (self.folder / "first-terminal.log").read_text()
        self._server = None
