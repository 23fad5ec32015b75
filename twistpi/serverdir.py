"""The server directory: who may use it, and how one comes to be.

``node.json`` says what the directory is.  A directory is born in two renames of that file: the first says that this will be a
server directory (``"initialised": false``), the second, after the changelog has its first entry, that it is one.  A crash in
between leaves a directory that the next start completes; a crash before leaves an empty one.

One process at a time uses a server directory: it holds an exclusive ``flock`` on the directory itself, which ends with the
process however it ends.  The lock belongs to whoever opened the directory, so a daemon opens it after its last fork.

The changelog and the view hold hashes of passwords, so nobody but their owner can read them, or a group that was given the right.
The directory itself is made so that others can enter it, whatever the umask says, and ``+files`` stays open: for a web server in
front.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import orjson

from twistpi.auth.secret_file import secret_in, what_is_wrong
from twistpi.blobs.system import open_to_others
from twistpi.model.account_errors import SecretRefused
from twistpi.model.errors import ServerdirInUse, ServerdirRefused
from twistpi.rules.promotion import Fence

FORMAT = 1
"""The version of the layout this code reads and writes."""
PRIMARY = "primary"
"""The role of a server whose own writer appends to the log."""
REPLICA = "replica"
"""The role of a server that follows another one and has the log of that."""

_NODE = "node.json"
_SECRET = "secret"
_HALF_WRITTEN = "node.json.new"
_LONGEST_SECRET = 64 * 1024
_NOT_OURS_BUT_FINE = frozenset({_HALF_WRITTEN, "lost+found"})
"""What may lie in a directory that counts as empty."""


@attrs.frozen
class Node:
    """What ``node.json`` says."""

    node_id: str
    """32 hexadecimal digits that tell this server from every other."""
    log_id: str
    """32 hexadecimal digits that tell its changelog from every other; empty while a replica has never reached its primary."""
    role: str = PRIMARY
    """``PRIMARY`` or ``REPLICA``."""
    format: int = FORMAT
    initialised: bool = False
    """False until the changelog has its first entry; on a replica, until it has all that its primary had when it was made."""
    primary_url: str | None = None
    """Whom a replica follows."""
    former_url: str | None = None
    """The former primary, as long as it has not been told that this server was promoted."""
    fence: Fence | None = None
    """Why a primary takes no writes: another server was promoted."""

    @property
    def is_replica(self) -> bool:
        """Whether it follows another server."""
        return self.role == REPLICA


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
    def names(self) -> str:
        """The folder of the mirrors' name lists."""
        return os.path.join(self.path, "names")

    @property
    def secret(self) -> str:
        """The file with the secret, unless the settings name another."""
        return os.path.join(self.path, _SECRET)

    @property
    def private(self) -> tuple[str, ...]:
        """What nobody else may read, whether it exists or not."""
        return (self.changelog, self.names, *(self.view + suffix for suffix in ("", "-wal", "-shm", "-journal")))


@contextlib.contextmanager
def _refusing(path: str) -> Iterator[None]:
    """Turns an operating system's error into a refusal that says what to do."""
    try:
        yield
    except PermissionError as error:
        reason = f"{error.strerror}: {error.filename}; run twistpi as the user who owns the directory, or give this user access"
        raise ServerdirRefused(path, reason) from None
    except OSError as error:
        raise ServerdirRefused(path, f"{error.strerror}: {error.filename}") from None


def read_node(path: str) -> Node | None:
    """What the server directory ``path`` is; None when it is missing or empty and can become one.  Changes nothing.

    Raises ``ServerdirRefused`` for anything that twistpi must not touch.
    """
    with _refusing(path):
        try:
            names = set(os.listdir(path))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ServerdirRefused(path, "it is a file, not a directory; name another one") from None
        if _NODE not in names:
            if names <= _NOT_OURS_BUT_FINE:
                return None
            reason = f"it is not empty and has no {_NODE}, so it is not twistpi's; name an empty or a new directory"
            raise ServerdirRefused(path, reason)
        with open(os.path.join(path, _NODE), "rb") as file:
            content = file.read()
    return _parse_node(path, content)


def _parse_node(path: str, content: bytes) -> Node:
    damaged = f"its {_NODE} is damaged (%s); restore that file from a backup"
    try:
        fields: Any = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ServerdirRefused(path, damaged % error) from None
    if not isinstance(fields, dict) or not isinstance(fields.get("format"), int):
        raise ServerdirRefused(path, damaged % "it tells no format")
    if fields["format"] != FORMAT:
        told = f"it has the format {fields['format']}, and this version of twistpi knows {FORMAT} only"
        raise ServerdirRefused(path, f"{told}; use the version of twistpi that made it, or a newer one")
    try:
        fence = fields.get("fence")
        node = Node(**{**fields, "fence": None if fence is None else Fence(**fence)})
    except TypeError:
        raise ServerdirRefused(path, damaged % "its fields are not those of this format") from None
    ids = (node.node_id,) if node.is_replica and not node.log_id else (node.node_id, node.log_id)
    ids_fine = all(isinstance(text, str) and len(text) == 32 for text in ids)
    role_fine = node.role == PRIMARY or (node.is_replica and isinstance(node.primary_url, str))
    if not ids_fine or not role_fine or not isinstance(node.initialised, bool):
        raise ServerdirRefused(path, damaged % "a field has a value that cannot be")
    return node


def check_role(path: str, node: Node | None, primary_url: str | None) -> None:
    """Refuse to have a primary's directory follow somebody: ``ServerdirRefused``."""
    if primary_url is not None and node is not None and not node.is_replica:
        reason = (
            "it is a primary's, which follows nobody, and primary-url is set; to make a replica of it, which saves what only it"
            f" has: twistpi resync --serverdir {path} --primary-url {primary_url}"
        )
        raise ServerdirRefused(path, reason)


def _new_node(entropy: Callable[[int], bytes], primary_url: str | None) -> Node:
    """A server that was never there; a replica gets to know the id of its log."""
    if primary_url is None:
        return Node(entropy(16).hex(), entropy(16).hex())
    return Node(entropy(16).hex(), "", REPLICA, primary_url=primary_url)


def _lock(path: str) -> int:
    """An open descriptor that holds the directory's lock; ``ServerdirRefused`` while another process does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise ServerdirInUse(path, "another process uses it; stop that one first, or name another directory") from None
        raise
    return descriptor


def check_usable(path: str) -> None:
    """Raise ``ServerdirRefused`` when ``path`` cannot be opened as things are now.  Changes nothing."""
    if read_node(path) is not None:
        with _refusing(path):
            os.close(_lock(path))


def read_secret(serverdir: str, secretfile: str | None) -> bytes:
    """What signs the login tokens of the server directory ``serverdir``: out of ``secretfile``, or its own secret.

    Raises ``SecretRefused`` for a file that is missing, or that is not secret.
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
        raise SecretRefused(path, str(error.strerror)) from None
    wrong = what_is_wrong(content, mode, folder_mode)
    if wrong is not None:
        raise SecretRefused(path, wrong)
    return secret_in(content)


@contextlib.contextmanager
def making_private() -> Iterator[None]:
    """What is made meanwhile can be read by nobody else.  For the whole process, so only while nothing else is at work."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _close_to_others(layout: Layout) -> None:
    """Take the rights of everybody from what is private, where it was made without care; what a group may do stays."""
    for path in layout.private:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & stat.S_IRWXO:
                os.chmod(path, mode & ~stat.S_IRWXO)


def _make(path: str) -> None:
    """Make the directory, unless it is there; others may enter it, though twistd as a daemon has a umask of 0077."""
    if os.path.isdir(path):
        return
    os.makedirs(path, mode=0o755, exist_ok=True)
    open_to_others(path)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: str, content: bytes, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


@attrs.define
class Serverdir:
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
    ) -> Serverdir:
        """Lock the directory, making it when it is missing; raises ``ServerdirRefused`` and then has changed nothing.

        While ``node.initialised`` is False the caller writes the first entry, or has a replica receive all there is, and then
        calls ``initialised``.  With ``primary_url`` it is, or becomes, a replica's; ``secret`` is then the primary's, which a
        new directory keeps.
        """
        check_role(path, read_node(path), primary_url)  # refuse before anything is made
        with _refusing(path):
            _make(path)
            descriptor = _lock(path)
        try:
            node = read_node(path)  # again: what was read without the lock may have changed
            check_role(path, node, primary_url)
            serverdir = cls(Layout(path), node or _new_node(entropy, primary_url), descriptor)
            if not serverdir.node.initialised:
                with _refusing(path):
                    serverdir._make(entropy, secret)
            if primary_url is not None and serverdir.node.primary_url != primary_url:
                serverdir.note(primary_url=primary_url)
            _close_to_others(serverdir.layout)
        except BaseException:
            os.close(descriptor)
            raise
        return serverdir

    def initialised(self) -> None:
        """Say that the changelog has its first entry, so that from now on an empty one is damage."""
        self.note(initialised=True)

    def note(self, **changed: Any) -> None:
        """Change fields of ``node.json``, at once and durably; from any thread."""
        with self._noting:
            self.node = attrs.evolve(self.node, **changed)
            with _refusing(self.layout.path):
                self._write_node()

    def _make(self, entropy: Callable[[int], bytes], secret: bytes | None) -> None:
        """Write what a new directory begins with; what is there of a former attempt, and will be needed, stays."""
        if not (self.node.is_replica and os.path.exists(self.layout.secret)):
            _write(self.layout.secret, secret + b"\n" if secret else entropy(32).hex().encode() + b"\n", 0o600)
        self._write_node()

    def has_no_log(self) -> bool:
        """Whether not a line of the changelog is here."""
        try:
            return not any(name.endswith(".log") for name in os.listdir(self.layout.changelog))
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Let others use the directory."""
        os.close(self._lock_descriptor)

    def _write_node(self) -> None:
        """Replace ``node.json`` at once and durably."""
        path = self.layout.path
        told = attrs.asdict(self.node, filter=lambda _field, value: value is not None)
        content = orjson.dumps(told, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        _write(os.path.join(path, _HALF_WRITTEN), content, 0o644)
        os.replace(os.path.join(path, _HALF_WRITTEN), os.path.join(path, _NODE))
        _sync_directory(path)
