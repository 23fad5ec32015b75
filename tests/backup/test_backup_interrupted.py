"""Backups and restores that are killed at every step, and done again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

from tests.backup.backed_up import blobs_in, dump_of, log_in, serial_of, upload
from tests.cli.commands import now, run
from twistpi.backup.restore import Restore
from twistpi.backup.store import FolderStore
from twistpi.backup.target import Target
from twistpi.backup.writer import BackupWriter
from twistpi.changelog.disk import AppendFile, Disk
from twistpi.server.node import read_node
from twistpi.server.storage import reading


class Killed(BaseException):
    """The process is no more."""


class MortalDisk(Disk):
    """A disk that a number of steps can be done on before the process is killed."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Killed

    def create(self, path: str) -> AppendFile:
        file = super().create(path)
        self._step()
        return file

    def append_to(self, path: str) -> AppendFile:
        self._step()
        return super().append_to(path)

    def rename(self, old: str, new: str) -> None:
        self._step()
        super().rename(old, new)
        self._step()

    def sync_folder(self, path: str) -> None:
        self._step()
        super().sync_folder(path)


def progress(_what: str, _done: int, _total: int) -> None:
    """Not looked at."""


def times_killed(attempt: Callable[[Disk], object], look: Callable[[], object]) -> int:
    """Let ``attempt`` be killed one step later each time, and ``look`` at what is left, until it is not killed."""
    for steps in count():
        try:
            attempt(MortalDisk(steps))
        except Killed:
            look()
        else:
            return steps
    raise AssertionError


def test_a_backup_that_is_killed_at_any_step_is_completed_by_the_next(tmp_path: Path, filled: Path) -> None:
    backup, former = tmp_path / "backup", serial_of(filled)
    assert run(filled, "backup", str(backup)).exit_code == 0
    was = dump_of(filled)
    upload(filled, "demo-2.0.zip", "demo-2.1.zip")
    numbers = count()

    def attempt(disk: Disk) -> None:
        node = read_node(str(filled))
        assert node is not None
        store = FolderStore(str(backup), disk)
        try:
            with reading(str(filled)) as reader:
                BackupWriter(str(filled), node, reader, store, now, progress).run()
        finally:
            store.close()

    def look() -> None:
        """What was backed up before is there, and the new only as a whole."""
        target = tmp_path / f"restored-{next(numbers)}"
        assert run(target, "restore", str(backup)).exit_code == 0
        assert dump_of(target) == was if serial_of(target) == former else dump_of(filled)

    assert times_killed(attempt, look) > 5
    assert run(tmp_path / "last", "restore", str(backup)).exit_code == 0
    assert (log_in(tmp_path / "last"), blobs_in(tmp_path / "last")) == (log_in(filled), blobs_in(filled))


def test_no_server_starts_on_a_restore_that_was_killed_and_it_is_completed_by_the_next(tmp_path: Path, filled: Path) -> None:
    backup, target = tmp_path / "backup", tmp_path / "restored"
    assert run(filled, "backup", str(backup)).exit_code == 0
    log, dumped, blobs = log_in(filled), dump_of(filled), blobs_in(filled)

    def attempt(disk: Disk) -> None:
        restore = Restore(str(target), FolderStore(str(backup)), bytes, progress, accept_missing=False, disk=disk)
        restore.run(Target())

    def look() -> None:
        refused = run(target, "passwd", "--stdin", "root", told="secret\n")
        assert (refused.exit_code, "a restore to it was not completed" in refused.output) == (1, True)

    assert times_killed(attempt, look) >= 3
    assert (log_in(target), dump_of(target), blobs_in(target)) == (log, dumped, blobs)
    assert not (target / "restore.json").exists()


def test_a_command_that_is_killed_in_the_middle_is_completed_by_the_next(tmp_path: Path, filled: Path) -> None:
    shell, counter = tmp_path / "shell", tmp_path / "calls"
    lines = [
        "#!/bin/sh",
        f"echo >> {counter}",
        # The shell is a child of rsync, which is one of the command.
        f"[ $(wc -l < {counter}) = 4 ] && kill -9 $(ps -o ppid= -p $PPID) && exit 1",
        "shift",
        'exec sh -c "$*"',
    ]
    shell.write_text("\n".join(lines))
    shell.chmod(0o755)
    place, target = f"host:{tmp_path}/backup", tmp_path / "restored"
    for serverdir, command in ((filled, "backup"), (target, "restore")):
        words = [command, place, "--rsh", str(shell), "--serverdir", str(serverdir)]
        counter.write_text("")
        killed = subprocess.run([str(Path(sys.executable).with_name("twistpi")), *words], capture_output=True)
        assert killed.returncode == -9, killed.stderr
        done = run(serverdir, *words)
        assert done.exit_code == 0, done.output
    assert (log_in(target), dump_of(target), blobs_in(target)) == (log_in(filled), dump_of(filled), blobs_in(filled))
