"""Backups on another machine, by the program rsync over ssh."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import attrs

from twistpi.blobs.tree import ROOT
from twistpi.model.errors import TwistpiError

_PARTIAL: Final = 23
"""The exit status of rsync when some files could not be copied, such as those that do not exist."""
_VANISHED: Final = 24
_PRIVATE: Final = ("--perms", "--chmod=D0700,F0600")
_ABSENT: Final = "No such file or directory"
_LISTED: Final = re.compile(r"-\S+\s+[0-9,.]+\s+\S+\s+\S+\s(.+)")
"""A file in a listing: mode, size, date, time, name."""
_HOST: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])")


@attrs.define(eq=False)
class RsyncStore:
    """A backup that rsync reaches; the folder above it must exist there."""

    url: str
    """What the user typed."""
    _remote: str
    """``user@host:path``, without a slash at its end."""
    _shell: str
    """The command that rsync runs to reach the host."""
    _staging: tempfile.TemporaryDirectory[str]

    @classmethod
    def parse(cls, url: str, shell: str | None, staging: str | None = None) -> Self:
        """Return the store at ``ssh://user@host:port/path`` or ``user@host:path``; raise ``TwistpiError``.

        Files on their way are put into a new folder in ``staging``, by default the one for temporary files.
        """
        if url.startswith("ssh://"):
            parts = urlsplit(url)
            host, path = parts.netloc, unquote(parts.path)
            if parts.port is not None:
                host, shell = host.rpartition(":")[0], f"{shell or 'ssh'} -p {parts.port}"
        else:
            host, _, path = url.partition(":")
        if not _HOST.fullmatch(host) or not path.strip("/") or not path.isprintable():
            raise TwistpiError(f"{url} is no address of a backup; write ssh://user@host/path or user@host:path.")
        if shutil.which("rsync") is None:
            raise TwistpiError(f"The program rsync, which is needed for {url}, is not installed.")
        folder = tempfile.TemporaryDirectory(prefix="twistpi-backup-", dir=staging)
        return cls(url, f"{host}:{path.rstrip('/')}", shell or "ssh", folder)

    def names(self, folder: str) -> list[str]:
        """See ``BackupStore``."""
        done = self._run(["--list-only", "--dirs", f"{self._remote}/{folder}/"], absent_is_fine=True)
        return [match[1] for line in done.splitlines() if (match := _LISTED.fullmatch(line))]

    def read(self, path: str) -> bytes:
        """See ``BackupStore``."""
        folder = self.bring([path])
        with open(os.path.join(folder, path), "rb") as file:
            return file.read()

    def write(self, path: str, content: bytes) -> None:
        """See ``BackupStore``."""
        with tempfile.TemporaryDirectory(dir=self._staging.name) as root:
            os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
            with open(os.path.join(root, path), "wb", opener=lambda one, flags: os.open(one, flags, 0o600)) as file:
                file.write(content)
            self._send(root, [path], ["--ignore-times"])

    def put(self, root: str, paths: Sequence[str]) -> None:
        """See ``BackupStore``; a copy that was interrupted goes on where it was."""
        self._send(root, paths, ["--ignore-missing-args", "--size-only", "--partial-dir=.twistpi-partial"])

    def put_log(self, root: str, path: str, kept: int, end: int) -> None:
        """See ``BackupStore``: rsync finds out itself what is there, and copies the rest of the file as it is now."""
        self._send(root, [path], ["--ignore-times"])

    def bring(self, paths: Sequence[str]) -> str:
        """See ``BackupStore``."""
        folder = os.path.join(self._staging.name, "brought")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        self._run(["--times", "--files-from=-", f"{self._remote}/", f"{folder}/"], paths, absent_is_fine=True)
        return folder

    def walk(self) -> Iterator[str]:
        """See ``BackupStore``."""
        command = self._command(["--list-only", "--recursive", f"{self._remote}/{ROOT}/"])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="surrogateescape") as listing:
            assert listing.stdout is not None
            for line in listing.stdout:
                if match := _LISTED.fullmatch(line.rstrip("\n")):
                    yield f"{ROOT}/{match[1]}"
        if listing.returncode:
            raise self._failed(listing.returncode, "its files cannot be listed")

    def remove(self, paths: Sequence[str]) -> None:
        """See ``BackupStore``."""
        with tempfile.TemporaryDirectory(dir=self._staging.name) as nothing:
            self._send(nothing, paths, ["--delete-missing-args"])

    def close(self) -> None:
        """See ``BackupStore``."""
        self._staging.cleanup()

    def _send(self, root: str, paths: Sequence[str], options: Sequence[str]) -> None:
        self._run(["--times", *_PRIVATE, *options, "--files-from=-", f"{root}/", f"{self._remote}/"], paths)

    def _command(self, words: Sequence[str]) -> list[str]:
        return ["rsync", "--protect-args", f"--rsh={self._shell}", *words]

    def _run(self, words: Sequence[str], paths: Sequence[str] = (), *, absent_is_fine: bool = False) -> str:
        """Run rsync and return what it prints; ``paths`` are those that it is to copy.  Raise ``TwistpiError``."""
        told = "".join(f"{path}\n" for path in paths)
        done = subprocess.run(self._command(words), input=told, capture_output=True, text=True, errors="surrogateescape")
        if done.returncode in (0, _VANISHED) or (absent_is_fine and done.returncode == _PARTIAL and _ABSENT in done.stderr):
            return done.stdout
        raise self._failed(done.returncode, done.stderr)

    def _failed(self, status: int, said: str) -> TwistpiError:
        words = next((line.strip() for line in said.splitlines() if line.strip()), "it says nothing")
        return TwistpiError(f"rsync cannot reach or use {self.url}: {words} (exit status {status}).")
