"""What a running server keeps on disk: opened in the right order, with its first entry, and closed again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
from twisted.logger import Logger

from twistpi.auth.passwords import BLANK, hash_password
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.interfaces import IChangelog
from twistpi.changelog.summary_fold import FoldedPart, begin_view
from twistpi.model.changes import Change, IndexCreated, IndexModified, LogStarted, UserCreated
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.errors import TwistpiError, invalid_setting
from twistpi.model.records import ROOT, Index, Json
from twistpi.model.server_errors import LogConflict, ServerdirRefused
from twistpi.server.directory import Layout, ServerDirectory, check_usable, making_private, read_secret
from twistpi.server.log_and_view import open_log_and_view
from twistpi.server.node import check_cache, check_role, denied, read_node, refusing
from twistpi.server.optional_bucket import check_bucket, run_bucket
from twistpi.server.settings import Settings
from twistpi.view.database import ViewDatabase
from twistpi.view.read import Reader, Readers

if TYPE_CHECKING:
    from twistpi.blobs.cached_bucket import CachedBucket
    from twistpi.server.bucket import NodeBucket
    from twistpi.server.cluster import Cluster

ROOT_MIRROR = "root/pypi"
"""The index that a new server directory has, unless it is left out."""
BY_BEGINNING = "+init"
"""The author of the first entry."""
BY_SETTINGS = "+settings"
"""The author of what a setting changed."""
_PUBLIC_TITLE = "PyPI"
_NO_SECRET = "it is to be a replica's, which needs the secret of its primary: name a copy of that file with --secretfile"
EMPTY = "it is a replica's that has never reached its primary, so nothing is in it yet; have it started while that is there"
"""Why nothing can be done with a directory."""
_NOT_MADE = (
    "nothing is in it, and the setting require-initialised forbids to make a new one: mount its disk, or make it first with"
    " twistpi init"
)
_log = Logger()


@attrs.define
class Storage:
    """The server directory, its changelog and blobs, and its view."""

    serverdir: ServerDirectory
    log: IChangelog
    """What is appended to."""
    changelog: FileChangelog
    """What is read: the same, or on a node of a cluster the copy here."""
    view: ViewDatabase
    tree: Tree
    cluster: Cluster | None = None
    """The cluster that this server is a node of."""
    bucket: NodeBucket | None = None
    blobs: Tree | CachedBucket = attrs.field(default=attrs.Factory(lambda self: self.tree, takes_self=True), init=False)
    """All blobs: ``tree``, or the bucket whose cache that is."""
    _open: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack, init=False)

    @classmethod
    def open(cls, settings: Settings, now: Callable[[], datetime], disk: Disk) -> Storage:
        """Open or initialise the server directory, the changelog on ``disk``; long only when the view has to be built anew.

        Raise ``ServerdirRefused``, ``LogDamaged``, ``StorageFull`` and what else makes it impossible, with nothing left open.
        """
        serverdir = open_directory(settings)
        if serverdir.node.is_replica and not serverdir.node.log_id:
            serverdir.close()
            raise ServerdirRefused(settings.serverdir, EMPTY)
        storage = cls.over(serverdir, settings, now, disk)
        try:
            storage.catch_up()
            storage.apply_settings(settings, now)
            storage.use_bucket(run_bucket(settings, storage.tree, serverdir.node.log_id, storage._open))
        except BaseException:
            serverdir.close()
            raise
        return storage

    @classmethod
    def over(cls, serverdir: ServerDirectory, settings: Settings, now: Callable[[], datetime], disk: Disk) -> Storage:
        """The same over a directory that is open already, whose log has an id; it is closed when that is impossible.

        The view may lack entries: ``catch_up``, then ``apply_settings``.
        """
        try:
            with refusing(settings.serverdir), making_private():
                cluster = find_cluster(settings)
                if cluster is not None:
                    log, changelog, view = cluster.open_log(serverdir, settings)
                else:
                    changelog, view = open_log_and_view(serverdir, disk)
                    log = changelog
                os.makedirs(serverdir.layout.names, exist_ok=True)
            with refusing(settings.serverdir):
                storage = cls(serverdir, log, changelog, view, open_tree(settings.serverdir), cluster)
            if not serverdir.node.is_replica:
                storage._begin(settings, now)
        except BaseException:
            serverdir.close()  # the process ends; the kernel closes the rest
            raise
        return storage

    def use_bucket(self, bucket: NodeBucket | None) -> None:
        """Keep blobs in ``bucket``, if there is one; it is closed with this."""
        if bucket is not None:
            self.bucket, self.blobs = bucket, bucket.blobs
            self._open.callback(bucket.close)

    @property
    def missing(self) -> int:
        """How many entries the view lacks."""
        return self.changelog.last.serial - self.view.position.serial

    @property
    def folded(self) -> int:
        """The serial that the view has; as long as it has a part of the summary, the same part of the serials before the log."""
        part = FoldedPart.of(self.view.position)
        if part is None:
            return self.view.position.serial
        return self.changelog.begins_after.serial * part.done // max(1, part.total)

    def catch_up(self, goes_on: Callable[[int], bool] = lambda _serial: True) -> None:
        """Fold into the view what it lacks.  Blocking, in any thread while nothing else uses the changelog or the view.

        ``goes_on`` is called after each transaction with ``folded``; False ends this early.
        Raises ``LogDamaged``, ``MalformedChange``, ``StorageFull`` and ``ServerdirRefused``; what was committed before stays.
        """
        begin_view(self.serverdir.layout.changelog, Disk(), self.view, lambda _done, _total: goes_on(self.folded))
        if self.view.position.serial >= self.changelog.begins_after.serial:
            catch_up(self.changelog, self.view, goes_on=goes_on)

    def apply_settings(self, settings: Settings, now: Callable[[], datetime]) -> None:
        """Write what ``settings`` change in the log of a primary, whose view is up to date."""
        if not self.serverdir.node.is_replica:
            self._apply_upstream(settings, now)

    def close(self) -> None:
        """Close everything and let others use the directory; the writer has been stopped before."""
        self._open.close()
        self.view.close()
        self.log.close()
        self.serverdir.close()

    def _begin(self, settings: Settings, now: Callable[[], datetime]) -> None:
        """Write the first entry of a new directory, or of one whose making was interrupted."""
        node = self.serverdir.node
        if node.initialised:
            if self.changelog.last.serial == 0:
                reason = "its changelog is empty, though it once was not; restore the folder changelog from a backup"
                raise ServerdirRefused(settings.serverdir, reason)
            if settings.root_passwd is not None or settings.root_passwd_hash is not None:
                _log.info("The server directory exists, so the password of root that is in the settings changes nothing.")
            return
        if self.changelog.last.serial == 0:
            password_hash = settings.root_passwd_hash or hash_password(settings.root_passwd or "", settings.bcrypt_cost)
            changes = first_changes(node.log_id, settings.upstream, not settings.no_root_pypi, password_hash)
            with contextlib.suppress(LogConflict):  # another node of the cluster was faster
                self._append(changes, BY_BEGINNING, now)
        self.serverdir.initialised()
        _log.info("Made the server directory {path}.", path=settings.serverdir)

    def _append(self, changes: Sequence[Change], by: str, now: Callable[[], datetime]) -> None:
        newest = self.changelog.newest()
        latest = decode_content(newest.body, newest.serial).at if newest else ""
        at = max(now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), latest)  # times never go back, as those of the writer
        self.log.append([encode_content(at, by, changes)], expect=self.changelog.last.serial)

    def _apply_upstream(self, settings: Settings, now: Callable[[], datetime]) -> None:
        if settings.upstream is None:
            return
        index = self.view.reader.index(ROOT_MIRROR)
        if index is None:
            _log.warn("The setting upstream changes nothing: there is no {index}.", index=ROOT_MIRROR)
        elif changes := decide_upstream(index, settings.upstream):
            try:
                self._append(changes, BY_SETTINGS, now)
            except LogConflict:  # another node of the cluster appended: look again
                self.catch_up()
                self._apply_upstream(settings, now)
                return
            self.catch_up()
            _log.info("{index} mirrors another upstream from now on, as the setting upstream says.", index=ROOT_MIRROR)


@contextlib.contextmanager
def reading(serverdir: str) -> Iterator[Reader]:
    """Return the view of a directory as another process may have it, to be read; raise ``ServerdirRefused`` if it cannot be."""
    path = Layout(serverdir).view
    try:
        with contextlib.closing(Readers(path)) as readers:
            yield readers.get()
    except sqlite3.Error as error:
        if os.path.exists(path) and not (os.access(path, os.W_OK) and os.access(serverdir, os.W_OK)):
            raise denied(serverdir, path) from None  # also who only reads it writes to a file beside it
        remedy = f"stop the server, remove {path}, and start it again"
        raise ServerdirRefused(serverdir, f"its view cannot be read ({error}); {remedy}") from None


def open_directory(settings: Settings, lock: int | None = None) -> ServerDirectory:
    """The server directory of ``settings``, locked for this process; raises ``ServerdirRefused`` and ``TwistpiError``.

    ``lock`` is a descriptor that holds the lock already.
    """
    cluster = find_cluster(settings)
    if cluster is not None:
        return cluster.open_cache(settings, lock)
    if settings.primary_url is None:
        return ServerDirectory.open(settings.serverdir, lock=lock)
    if read_node(settings.serverdir) is None and settings.secretfile is None:
        raise ServerdirRefused(settings.serverdir, _NO_SECRET)
    secret = None if settings.secretfile is None else read_secret(settings.serverdir, settings.secretfile)
    return ServerDirectory.open(settings.serverdir, primary_url=settings.primary_url, secret=secret, lock=lock)


def find_cluster(settings: Settings) -> Cluster | None:
    """Return the cluster that ``settings`` make this server a node of, if they do.

    Raise ``TwistpiError`` when a setting is missing, or a library.
    """
    check_bucket(settings)
    if settings.changelog is None:
        return None
    if settings.cache_dir is None:
        raise TwistpiError("The setting changelog needs a directory for copies of what is shared: --cache-dir DIRECTORY.")
    try:
        from twistpi.server.cluster import Cluster  # noqa: PLC0415 needs psycopg
    except ImportError:
        message = "The setting changelog needs the library psycopg, which is not installed: pip install 'twistpi[cluster]'."
        raise TwistpiError(message) from None
    return Cluster(settings.changelog)


def check_usable_by(settings: Settings) -> None:
    """Raise ``ServerdirRefused`` when the server directory cannot be opened with ``settings`` as things are now."""
    cluster = find_cluster(settings)
    check_usable(settings.serverdir)
    node = read_node(settings.serverdir)
    check_role(settings.serverdir, node, settings.primary_url)
    if cluster is not None:
        return  # its database tells the rest
    check_cache(settings.serverdir, node, None)
    if node is None and settings.require_initialised:
        raise ServerdirRefused(settings.serverdir, _NOT_MADE)
    if node is None and settings.primary_url is not None and settings.secretfile is None:
        raise ServerdirRefused(settings.serverdir, _NO_SECRET)


def default_upstream() -> str:
    """Return the address of the public index, which is the one that pip uses unless it is configured otherwise.

    Raises ``TwistpiError`` when pip does not tell.
    """
    try:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 needed once in a server's life
    except ImportError:
        allowed = "it must be given (--upstream URL), because pip, whose index is the default, is not installed"
        raise invalid_setting("upstream", "", "its default", allowed) from None
    return f"{PyPI.simple_url}/"


def _public_pages(upstream: str) -> str | None:
    """Return where the public index has its pages for people, which always have been beside the simple ones."""
    root, simple, rest = upstream.partition("/simple/")
    return f"{root}/project/{{name}}/" if simple and not rest else None


def mirror_config(upstream: str | None) -> Mapping[str, Json]:
    """Return the configuration of a new mirror index, of the public index when no ``upstream`` is given."""
    if upstream is not None:
        return {"type": "mirror", "volatile": False, "title": urlsplit(upstream).hostname, "mirror_url": upstream}
    public = default_upstream()
    config = {"type": "mirror", "volatile": False, "title": _PUBLIC_TITLE, "mirror_url": public}
    pages = _public_pages(public)
    return config if pages is None else {**config, "mirror_web_url_fmt": pages}


def first_changes(log_id: str, upstream: str | None, with_mirror: bool, root_password_hash: str = BLANK) -> Sequence[Change]:
    """Return the first entry of a changelog; without ``upstream`` the mirror is of the public index."""
    changes: list[Change] = [LogStarted(log_id), UserCreated(ROOT, password_hash=root_password_hash)]
    if with_mirror:
        changes.append(IndexCreated(ROOT_MIRROR, mirror_config(upstream)))
    return changes


def decide_upstream(index: Index, upstream: str) -> Sequence[Change]:
    """Return what makes ``index`` mirror ``upstream`` from now on; nothing when it does.

    Title and web address go along while they are those that ``mirror_config`` gave the former upstream.
    """
    former = index.config.get("mirror_url")
    if former == upstream:
        return ()
    changed: dict[str, Json] = {"mirror_url": upstream}
    removed = []
    if isinstance(former, str):
        if index.config.get("title") in (_PUBLIC_TITLE, urlsplit(former).hostname):
            changed["title"] = urlsplit(upstream).hostname
        if "mirror_web_url_fmt" in index.config and index.config["mirror_web_url_fmt"] == _public_pages(former):
            removed.append("mirror_web_url_fmt")
    return (IndexModified(index.name, changed, tuple(removed)),)
