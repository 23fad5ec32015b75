"""Views in the bucket of a cluster: what the leading node puts there, and what a new node begins with.

A new node would fold the whole log otherwise.  What it takes is its own to verify: the digest of the bytes, whose log it is, by
which version of the fold, and that the database has the entry up to which it goes (``cluster/local_copy.py``).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.blobs.tree import INCOMING
from twistpi.cluster.view_names import EVERY, FOLDER, ViewName, choose_view, is_due, to_drop, view_names
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.s3.address import parse_bucket
from twistpi.s3.bucket import Bucket
from twistpi.s3.errors import NoSuchObject
from twistpi.s3.reader import BucketReader, open_reader
from twistpi.server.settings import Settings
from twistpi.view.database import FOLD_VERSION, copy_view, drop_view, read_stamp

_LOOK: Final = 60.0
"""Seconds between two looks whether another view is due."""
_log = Logger()


async def list_views(bucket: Bucket) -> list[ViewName]:
    """Return the views that ``bucket`` has, in order."""
    return view_names([info.key async for info in bucket.walk(FOLDER)])


async def keep_view(bucket: Bucket, view: str, offload: Offload) -> ViewName:
    """Put a copy of the view at the path ``view``, which is in a server directory, into ``bucket``, and drop older ones.

    Raise ``StorageFull``, and what a bucket raises.
    """
    temporary = os.path.join(os.path.dirname(view), INCOMING, "kept-view")  # a start removes it
    with suppress(FileNotFoundError):
        os.remove(temporary)
    copy = await offload(copy_view, view, temporary)
    try:
        name = ViewName(copy.stamp.fold_version, copy.stamp.position.serial, copy.sha256)
        with open(temporary, "rb") as file:
            await bucket.put_file(name.key, file, copy.size, copy.sha256)
    finally:
        with suppress(FileNotFoundError):
            os.remove(temporary)
    for old in to_drop(await list_views(bucket)):
        with suppress(NoSuchObject):
            await bucket.delete(old.key)
    return name


@attrs.define(eq=False)
class KeptViews:
    """Puts a view into the bucket now and then, on the node that leads."""

    _bucket: Bucket
    _view: str
    """The path of the view."""
    _leads: Callable[[], bool]
    _serial: Callable[[], int]
    """Returns the last entry of the view."""
    _offload: Offload
    _every: int = attrs.field(default=EVERY, kw_only=True)
    """Entries after which another view is kept."""
    _names: list[ViewName] | None = attrs.field(default=None, init=False)
    """Those in the bucket; None while that is not known."""
    _looking: LoopingCall = attrs.field(init=False)
    _running: Deferred[None] = attrs.field(factory=lambda: succeed(None), init=False)

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(self._begin_look)
        self._looking.clock = self._bucket.requests.clock

    def start(self) -> None:
        """Begin to look."""
        self._looking.start(_LOOK, now=False)

    async def stop(self) -> None:
        """Stop; return when nothing is under way any more."""
        if self._looking.running:
            self._looking.stop()
        self._running.cancel()
        with suppress(Exception):
            await self._running

    def _begin_look(self) -> Deferred[None]:
        self._running = Deferred.fromCoroutine(self.look())
        self._running.addErrback(lambda failure: _log.warn("No view was kept: {reason}", reason=failure.getErrorMessage()))
        return self._running

    async def look(self) -> None:
        """Keep a view if one is due and this node leads."""
        if not self._leads():
            self._names = None  # another node keeps some
            return
        if self._names is None:
            self._names = await list_views(self._bucket)
        if is_due(self._names, FOLD_VERSION, self._serial(), self._every):
            self._names.append(await keep_view(self._bucket, self._view, self._offload))
            _log.info("The view up to serial {serial} is in the bucket, for new nodes.", serial=self._names[-1].serial)


def bring_kept_view(settings: Settings, url: str, view: str, log_id: str, last: int) -> int | None:
    """Do the same as ``bring_view`` with the bucket at ``url``; raise ``TwistpiError`` for settings that cannot be."""
    address = parse_bucket(url, endpoint=settings.s3_endpoint, region=settings.s3_region, style=settings.s3_addressing)
    with closing(open_reader(address, os.environ, settings.ca_file)) as reader:
        return bring_view(reader, view, log_id, last)


def bring_view(reader: BucketReader, view: str, log_id: str, last: int) -> int | None:
    """Have the view at the path ``view`` be the newest one in the bucket that fits; return its serial, None without one.

    The database has the entries up to ``last``.  Blocking.  What goes wrong is logged: the log has all that a view needs.
    """
    temporary = f"{view}.brought"
    try:
        name = choose_view(view_names(info.key for info in reader.list(FOLDER).objects), FOLD_VERSION, last)
        if name is None:
            return None
        digest = hashlib.sha256()
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:

            def write(piece: bytes) -> None:
                file.write(piece)
                digest.update(piece)

            reader.download(name.key, write)
        if digest.hexdigest() != name.sha256:
            raise ValueError(f"its SHA-256 is {digest.hexdigest()}, not {name.sha256}")
        _check_stamp(temporary, log_id, name)
        drop_view(view)
        os.replace(temporary, view)
    except (TwistpiError, OSError, ValueError, sqlite3.Error) as error:
        _log.warn("The view in the bucket cannot be used, so one is built of the whole log: {reason}", reason=str(error))
        with suppress(OSError):
            os.remove(temporary)
        return None
    _log.info("The view up to serial {serial} was taken from the bucket.", serial=name.serial)
    return name.serial


def _check_stamp(path: str, log_id: str, name: ViewName) -> None:
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as connection:
        stamp = read_stamp(connection)
    found = (stamp.log_id, stamp.fold_version, stamp.position.serial)
    if found != (log_id, name.fold_version, name.serial):
        raise ValueError(f"it says that it is of the log {stamp.log_id} up to serial {stamp.position.serial}")
