"""Ctrl-C: a sentence, the exit status 130, and nothing left half done."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.fakes.live_server import ROOT, server_environment


def interrupted(command: list[str], when: Callable[[], object], **variables: str) -> subprocess.CompletedProcess[str]:
    """Press Ctrl-C in a command, at a moment for which ``when`` waits."""
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from twistpi.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", start, *command], cwd=ROOT, env={**server_environment(), **variables}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            when()
            process.send_signal(signal.SIGINT)
            told, complained = process.communicate(timeout=180)
        finally:
            process.kill()
        return subprocess.CompletedProcess(command, process.returncode, told, complained)


def test_asking_a_server_that_says_nothing_can_be_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple/"
        connections: list[socket.socket] = []  # which stay open

        def asked() -> None:
            connections.append(silent.accept()[0])
            assert connections[0].recv(100)

        done = interrupted(["check-index", url], asked)
        connections[0].close()
    assert done.returncode == 130
    assert done.stderr.endswith("\nInterrupted. Completed work is kept; a server that is executing the request continues.\n")
    assert "Traceback" not in done.stderr


def test_a_check_can_be_given_up_and_leaves_nothing_behind(made: Path, tmp_path: Path) -> None:
    (segment,) = (made / "changelog").iterdir()
    segment.unlink()
    os.mkfifo(segment)  # a reader of it waits for a writer
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = interrupted(["check", "--serverdir", str(made)], lambda: os.open(segment, os.O_WRONLY), TMPDIR=str(temporary))
    assert done.returncode == 130
    assert "Interrupted." in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(temporary) == []
