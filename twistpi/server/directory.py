"""The server directory: where things are in it, who may use it, how one is made, and its secret."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from twistpi.blobs.incoming import open_to_others
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.node import Node, check_cache, check_role, denied, new_node, read_node, refusing, write_durably, write_node

SHORTEST: Final = 32
"""Bytes of a secret."""
_FEWEST_DIFFERENT: Final = 6
_LONGEST_SECRET: Final = 64 * 1024


@attrs.frozen
class Layout:
    """Where things are in a server directory."""

    path: str

    @property
    def changelog(self) -> str:
        """The folder of the changelog's segments."""
        return os.path.join(self.path, "changelog")

    @property
    def view(self) -> str:
        """The view's database."""
        return os.path.join(self.path, "view.sqlite")

    @property
    def search(self) -> str:
        """The search index."""
        return os.path.join(self.path, "search.sqlite")

    @property
    def advisories(self) -> str:
        """The file in which advisories are looked up; disposable."""
        return os.path.join(self.path, "advisories.sqlite")

    @property
    def advisory_feed(self) -> str:
        """The file with what is remembered of the feed of advisories; disposable."""
        return os.path.join(self.path, "advisories.json")

    @property
    def names(self) -> str:
        """The folder of the mirrors' name lists."""
        return os.path.join(self.path, "names")

    @property
    def statistics(self) -> str:
        """The file of downloads and figures; disposable."""
        return os.path.join(self.path, "statistics.sqlite")

    @property
    def secret(self) -> str:
        """The file with the secret, unless the settings name another."""
        return os.path.join(self.path, "secret")

    @property
    def private(self) -> tuple[str, ...]:
        """What nobody else may read, whether it exists or not."""
        databases = (self.view, self.search)
        return (self.changelog, self.names, *(path + suffix for path in databases for suffix in ("", "-wal", "-shm", "-journal")))


def lock_directory(path: str) -> int:
    """Return an open descriptor that holds the directory's lock; raise ``ServerdirRefused`` while another process does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            held = "another process uses it; stop that one first, or name another directory"
            raise ServerdirRefused(path, held, in_use=True) from None
        raise
    return descriptor


def check_usable(path: str) -> None:
    """Raise ``ServerdirRefused`` when ``path`` cannot be opened as things are now.  Change nothing."""
    if read_node(path) is not None:
        _check_writable(Layout(path))
        with refusing(path):
            os.close(lock_directory(path))


def _check_writable(layout: Layout) -> None:
    """Raise ``ServerdirRefused`` if this user may not write what is here, such as files that a command made as root."""
    for path in (layout.path, *layout.private):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise denied(layout.path, path)


@contextlib.contextmanager
def making_private() -> Iterator[None]:
    """Let nobody else read what is made meanwhile.  For the whole process, so only while nothing else is at work."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def keep_others_from_writing() -> None:
    """Change the umask so that others and the group cannot write to new files; one that keeps out others already stays."""
    before = os.umask(0o077)
    os.umask(before if before & stat.S_IWOTH else before | stat.S_IWGRP | stat.S_IWOTH)


def _close_to_others(layout: Layout) -> None:
    """Take the rights of others from what is private, where it was made without care; those of the group stay."""
    for path in layout.private:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & stat.S_IRWXO:
                os.chmod(path, mode & ~stat.S_IRWXO)


def _make(path: str) -> None:
    """Make the directory, unless it is there; others may enter it, though twistd as a daemon has a umask of 0077."""
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o755, exist_ok=True)
        open_to_others(path)


@attrs.define
class ServerDirectory:
    """A server directory that this process alone uses; ``open`` makes one."""

    layout: Layout
    node: Node
    _lock_descriptor: int
    _noting: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @classmethod
    def open(
        cls,
        path: str,
        entropy: Callable[[int], bytes] = os.urandom,
        *,
        primary_url: str | None = None,
        secret: bytes | None = None,
        lock: int | None = None,
        log_id: str | None = None,
    ) -> ServerDirectory:
        """Lock the directory, making it when it is missing; raise ``ServerdirRefused``, having changed nothing.

        While ``node.initialised`` is False the caller writes the first entry, or has a replica receive all there is, and then
        calls ``initialised``.  With ``primary_url`` it is, or becomes, a replica's; ``secret`` is then the primary's, which a
        new directory keeps.  With ``log_id`` it is the cache of a node of the cluster that has this log; ``secret`` is then the
        cluster's.  ``lock`` is a descriptor that holds the lock already.
        """
        node = read_node(path)
        check_role(path, node, primary_url)  # refuse before anything is made
        check_cache(path, node, log_id)
        keep_others_from_writing()
        with refusing(path):
            _make(path)
            descriptor = lock_directory(path) if lock is None else lock
        try:
            node = read_node(path)  # again: what was read without the lock may have changed
            check_role(path, node, primary_url)
            check_cache(path, node, log_id)
            _check_writable(Layout(path))
            node = node or new_node(entropy, primary_url)
            if log_id is not None:
                node = attrs.evolve(node, log_id=log_id, is_cache=True)
            serverdir = cls(Layout(path), node, descriptor)
            if not serverdir.node.initialised or log_id is not None:
                with refusing(path):
                    serverdir._make(entropy, secret)
            if primary_url is not None and serverdir.node.primary_url != primary_url:
                serverdir.note(primary_url=primary_url)
            _close_to_others(serverdir.layout)
        except BaseException:
            os.close(descriptor)
            raise
        return serverdir

    def initialised(self) -> None:
        """Note that the changelog has its first entry, so that from now on an empty one is damage."""
        self.note(initialised=True)

    def note(self, **changed: Any) -> None:
        """Change fields of ``node.json``, at once and durably; from any thread."""
        with self._noting:
            self.node = attrs.evolve(self.node, **changed)
            with refusing(self.layout.path):
                write_node(self.layout.path, self.node)

    def _make(self, entropy: Callable[[int], bytes], secret: bytes | None) -> None:
        """Write what a new directory begins with; what is there of a former attempt, and will be needed, stays."""
        if not (self.node.is_replica and os.path.exists(self.layout.secret)):
            write_durably(self.layout.secret, (secret or entropy(32).hex().encode()) + b"\n", 0o600)
        write_node(self.layout.path, self.node)

    def has_no_log(self) -> bool:
        """Whether not a line of the changelog is here."""
        try:
            return not any(name.endswith(".log") for name in os.listdir(self.layout.changelog))
        except FileNotFoundError:
            return True

    def keep_locked(self) -> int:
        """Return another descriptor that holds the lock, whatever becomes of this object."""
        return os.dup(self._lock_descriptor)

    def close(self) -> None:
        """Let others use the directory."""
        os.close(self._lock_descriptor)


def secret_in(content: bytes) -> bytes:
    """Return the secret in a file's content: all but the line's end, which editors add."""
    return content.rstrip(b"\r\n")


def what_is_wrong(content: bytes, file_mode: int, folder_mode: int | None) -> str | None:
    """Return why a file is not fit to hold the secret, with what to do; None when it is.

    The modes are ``st_mode`` of the file and of its folder, None for a folder that is the server directory itself: those who may
    write there need no secret.
    """
    if not stat.S_ISREG(file_mode):
        return "it is not a file"
    if file_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"others than its owner can use it (mode {stat.S_IMODE(file_mode):04o}); chmod 600 it"
    if folder_mode is not None and folder_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = f"{stat.S_IMODE(folder_mode):04o}"
        return f"others than its owner can write to its folder (mode {mode}) and so replace it; chmod go-w that"
    secret = secret_in(content)
    if len(secret) < SHORTEST:
        return f"it holds {len(secret)} bytes, and {SHORTEST} are needed; write that many random ones to it"
    if len(set(secret)) < _FEWEST_DIFFERENT:
        return f"it holds fewer than {_FEWEST_DIFFERENT} different bytes; write random ones to it"
    return None


def read_secret(serverdir: str, secretfile: str | None) -> bytes:
    """Return the secret that signs login tokens: out of ``secretfile``, or that of the directory ``serverdir`` itself.

    Raise ``TwistpiError`` for a file that is missing, or that is not secret.
    """
    path = Layout(serverdir).secret if secretfile is None else secretfile
    try:
        # Whatever it is, opening it does not wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            content = os.read(descriptor, _LONGEST_SECRET) if stat.S_ISREG(mode) else b""
        finally:
            os.close(descriptor)
        folder_mode = None if secretfile is None else os.stat(os.path.dirname(os.path.abspath(path))).st_mode
    except OSError as error:
        raise TwistpiError(f"The secret file {path} cannot be used: {error.strerror!s}.") from None
    wrong = what_is_wrong(content, mode, folder_mode)
    if wrong is not None:
        raise TwistpiError(f"The secret file {path} cannot be used: {wrong}.")
    return secret_in(content)
