"""What a server directory is, and whose (``node.json``), and where the server that runs on it answers (``running.json``).

A directory is made in two renames of ``node.json``: the first says that this will be a server directory (``"initialised":
false``), the second, after the changelog has its first entry, that it is one.  What a crash leaves in between, the next start
completes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import orjson

from twistpi.model.records import NOTHING
from twistpi.model.server_errors import ServerdirRefused
from twistpi.rules.replication import Fence

FORMAT = 1
"""The version of the layout this code reads and writes."""
PRIMARY = "primary"
"""The role of a server whose own writer appends to the log."""
REPLICA = "replica"
"""The role of a server that follows another one and has the log of that."""
RECORDED_SETTINGS = ("outside-url", "max-upload-size", "trusted-proxy", "disk-reserve", "offline", "secretfile", "ca-file")
"""Settings that a running server tells, for ``twistpi doctor``."""

RESTORE_UNDER_WAY = "restore.json"
"""A file that is in a directory while it is made of a backup."""
MOVE_UNDER_WAY = "move.json"
"""A file that is in a directory while the log of a cluster is moved into it."""
_NODE = "node.json"
_HALF_WRITTEN = "node.json.new"
_RUNNING = "running.json"
_NOT_OURS_BUT_FINE = frozenset({_HALF_WRITTEN, "lost+found"})
"""What may lie in a directory that counts as empty."""
_READ_BY_ALL = frozenset({"changelog", "view.sqlite"})
"""What every program reads that uses a directory."""


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
    """The server that a replica follows."""
    former_url: str | None = None
    """The former primary, as long as it has not been told that this server was promoted."""
    promoting: int | None = None
    """The epoch that this server is about to begin; None but for the moment in which it does."""
    fence: Fence | None = None
    """Why a primary takes no writes: another server was promoted."""
    restored_from: int | None = None
    """The serial to which this directory was restored, until its first start, with which an epoch of its own begins."""
    moved_to: str | None = None
    """The database to which the log was moved, so that it goes on there; None for a log that is here."""
    is_cache: bool | None = None
    """Whether this is the cache of a node of a cluster, whose log is in a database; None means no."""

    @property
    def is_replica(self) -> bool:
        """Whether it follows another server."""
        return self.role == REPLICA


@contextlib.contextmanager
def refusing(path: str) -> Iterator[None]:
    """Turn an operating system's error into ``ServerdirRefused``, which says what to do."""
    try:
        yield
    except PermissionError as error:
        raise denied(path, error.filename or path) from None
    except OSError as error:
        named = "" if error.filename is None else f": {error.filename}"
        raise ServerdirRefused(path, f"{error.strerror or error}{named}") from None


def denied(path: str, inside: str) -> ServerdirRefused:
    """Return the refusal to use the directory ``path`` as a user who has no access to ``inside``."""
    advice = "run twistpi as the user who owns the directory, or give this user access"
    return ServerdirRefused(path, f"{os.strerror(errno.EACCES)}: {inside}; {advice}")


def not_made(path: str) -> ServerdirRefused:
    """Return the refusal of a command to use a directory ``path`` that is no server directory yet."""
    command = f"twistpi init --serverdir {shlex.quote(path)}"
    return ServerdirRefused(path, f"it is missing or empty; make it with {command}, or name another one")


def read_node(path: str) -> Node | None:
    """Return what the server directory ``path`` is; None when it is missing or empty and can become one.  Change nothing.

    Raise ``ServerdirRefused`` for anything that twistpi must not touch.
    """
    with refusing(path):
        try:
            names = set(os.listdir(path))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ServerdirRefused(path, "it is a file, not a directory; name another one") from None
        if _NODE not in names:
            if names <= _NOT_OURS_BUT_FINE:
                return None
            if RESTORE_UNDER_WAY in names:
                raise ServerdirRefused(path, "a restore to it was not completed; run twistpi restore again, or remove it")
            if MOVE_UNDER_WAY in names:
                raise ServerdirRefused(path, "a move to it was not completed; run twistpi move again, or remove it")
            reason = f"it is not empty and has no {_NODE}, so it is not twistpi's; name an empty or a new directory"
            raise ServerdirRefused(path, reason)
        with open(os.path.join(path, _NODE), "rb") as file:
            content = file.read()
    for name in sorted(_READ_BY_ALL & names):
        if not os.access(os.path.join(path, name), os.R_OK):
            raise denied(path, os.path.join(path, name))
    return _parse_node(path, content)


def _parse_node(path: str, content: bytes) -> Node:
    damaged = f"its {_NODE} is damaged (%s); restore that file from a backup"
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ServerdirRefused(path, damaged % error) from None
    if not isinstance(fields, dict) or not isinstance(fields.get("format"), int):
        raise ServerdirRefused(path, damaged % "it tells no format")
    if fields["format"] != FORMAT:
        reason = f"it has the format {fields['format']}, and this version of twistpi knows {FORMAT} only"
        raise ServerdirRefused(path, f"{reason}; use the version of twistpi that made it, or a newer one")
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
    """Refuse to have a primary's directory follow another server: ``ServerdirRefused``."""
    if primary_url is not None and node is not None and not node.is_replica:
        reason = (
            "it is a primary's, which follows nobody, and primary-url is set: leave that out, as for every server that was"
            " promoted; or make a replica of it, which saves what only it has:"
            f" twistpi resync --serverdir {path} --primary-url {primary_url}"
        )
        raise ServerdirRefused(path, reason)


def check_cache(path: str, node: Node | None, log_id: str | None) -> None:
    """Refuse to use a cache without its cluster or with another one, and anything else as one: ``ServerdirRefused``.

    ``log_id`` is that of the cluster; None for a directory that is to have its own log, which must not have been moved away.
    """
    if node is None or (log_id is None and not node.is_cache and node.moved_to is None):
        return
    if log_id is None and node.moved_to is not None:
        reason = (
            f"its log was moved to the database at {node.moved_to}, and goes on there: start a node with --changelog; to go on"
            " here, move it back: twistpi move --from-changelog"
        )
    elif log_id is None:
        reason = "it is the cache of a node of a cluster; start that with --changelog and --cache-dir"
    elif not node.is_cache:
        reason = "it is a server directory, which has the only copy of its log; name another folder as --cache-dir"
    elif node.log_id != log_id:
        reason = "it is the cache of a node of another cluster; remove it, or name another --cache-dir"
    else:
        return
    raise ServerdirRefused(path, reason)


def new_node(entropy: Callable[[int], bytes], primary_url: str | None) -> Node:
    """Return a new server; a replica gets to know the id of its log later."""
    if primary_url is None:
        return Node(entropy(16).hex(), entropy(16).hex())
    return Node(entropy(16).hex(), "", REPLICA, primary_url=primary_url)


def write_node(path: str, node: Node) -> None:
    """Replace the ``node.json`` of the directory ``path`` at once and durably."""
    fields = attrs.asdict(node, filter=lambda _field, value: value is not None)
    content = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_durably(os.path.join(path, _HALF_WRITTEN), content, 0o644)
    os.replace(os.path.join(path, _HALF_WRITTEN), os.path.join(path, _NODE))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: str, content: bytes, mode: int) -> None:
    """Write a new file in place of the one at ``path``, and have it on the disk when this returns."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


@attrs.frozen
class Running:
    """What ``running.json`` says.  A server that was killed leaves it behind: whether one runs, the directory's lock tells."""

    pid: int
    """The process that wrote it."""
    addresses: tuple[str, ...]
    """Where it answers, as this machine reaches it: ``http://127.0.0.1:3141/``, ``https://[::1]:3141/``, ``unix:/run/x.sock``."""
    settings: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    """Those of ``RECORDED_SETTINGS`` that are not at their default, as on the command line."""


def record_running(serverdir: str, addresses: Sequence[str], settings: Mapping[str, Sequence[str]] = NOTHING) -> None:
    """Write ``running.json`` for this process, the whole file at once.  Raise ``OSError``."""
    path = os.path.join(serverdir, _RUNNING)
    content = {"pid": os.getpid(), "addresses": list(addresses), "settings": dict(settings)}
    with open(f"{path}.new", "wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    os.replace(f"{path}.new", path)


def record_stopped(serverdir: str) -> None:
    """Remove ``running.json`` if this process wrote it."""
    running = read_running(serverdir)
    if running is not None and running.pid == os.getpid():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(serverdir, _RUNNING))


def read_running(serverdir: str) -> Running | None:
    """Return what the last server on ``serverdir`` wrote; None when it stopped in order, or the file cannot be understood."""
    try:
        with open(os.path.join(serverdir, _RUNNING), "rb") as file:
            fields = orjson.loads(file.read())
        settings = {str(name): [str(text) for text in texts] for name, texts in fields.get("settings", {}).items()}
        return Running(int(fields["pid"]), tuple(str(address) for address in fields["addresses"]), settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
