"""``twistpi check --repair``: files that are missing or damaged are had again.

A file comes from a backup, if one is named; else from the server that runs on the directory, which asks the upstream of a mirror,
or its primary; else, on a replica that does not run, from the primary.  A damaged file is set aside while another one is looked
for, and put back if there is none.  Where a mirror has it, and nobody can be asked now, it stays away: the server fetches a file
that is missing when it is asked for, but would go on serving a damaged one.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

import attrs

from twistpi.auth.tokens import NodeTokens
from twistpi.backup.blob_state import address_of, blob_path, what_is_wrong
from twistpi.backup.store import BackupStore
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.received import adopt_file
from twistpi.blobs.tree import Tree
from twistpi.cli.clients import PeerClient, ask_local_server
from twistpi.model.errors import TwistpiError
from twistpi.server.directory import Layout, ServerDirectory, read_secret
from twistpi.server.node import Node
from twistpi.server.settings import Settings
from twistpi.view.database import drop_view
from twistpi.view.read import NamedBlob

_SET_ASIDE: Final = ".damaged"
_BETWEEN, _LOOKS = 0.05, 200
"""Seconds between two looks whether the server has stored a file, and how many there are."""


@attrs.define(eq=False)
class Repair:
    """Puts the files of one server directory right."""

    _serverdir: str
    _node: Node
    _backup: BackupStore | None
    _server: PeerClient | None
    """The server that runs on the directory."""
    _primary: PeerClient | None
    """The primary of a replica that does not run."""
    _pause: Callable[[float], object]
    _tree: Tree = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tree = Tree(self._serverdir)

    def blob(self, named: NamedBlob) -> str | None:
        """Restore a blob; return what was done, or None if nothing could be.  Raise ``TwistpiError`` and ``OSError``."""
        blob, address = named.blob, address_of(named.blob)
        with self._aside(address) as keep_away:
            for source, fetch in self._sources(named):
                with suppress(TwistpiError):
                    fetch()
                if what_is_wrong(self._tree, blob) is None:
                    return f"it came again from {source}"
            if not named.is_private or self._node.is_replica:
                keep_away()
                who = "its primary" if self._node.is_replica else "the upstream"
                return f"the server fetches it from {who} when it is asked for"
        return None

    def _sources(self, named: NamedBlob) -> Iterator[tuple[str, Callable[[], object]]]:
        blob, address = named.blob, address_of(named.blob)
        if (store := self._backup) is not None:
            path = blob_path(address)
            yield store.url, lambda: adopt_file(store.bring([path]), self._tree, address, blob.sha256, blob.size)
        if (server := self._server) is not None and (not named.is_private or self._node.is_replica):
            yield "the primary" if self._node.is_replica else "the upstream", lambda: self._have_fetched(server, address)
        if (primary := self._primary) is not None:
            yield primary.url, lambda: self._fetch(primary, named)

    def _have_fetched(self, server: PeerClient, address: BlobAddress) -> None:
        """Let the server fetch and store a file; it does so right after it sent the last bytes."""
        server.download(f"/+blob/{address.relative}", lambda _piece: None)
        for _ in range(_LOOKS):
            if self._tree.find(address) is not None:
                return
            self._pause(_BETWEEN)

    def _fetch(self, primary: PeerClient, named: NamedBlob) -> None:
        digest, address = hashlib.sha256(), address_of(named.blob)
        with closing(self._tree.incoming()) as incoming:

            def take(piece: bytes) -> None:
                digest.update(piece)
                incoming.write(piece)

            primary.download(f"/+blob/{address.relative}", take)
            if digest.hexdigest() == named.blob.sha256:
                self._tree.keep(incoming, address, named.blob.sha256)

    @contextmanager
    def _aside(self, address: BlobAddress) -> Iterator[Callable[[], None]]:
        """Set a damaged file aside, and remove it if another one is there at the end; else put it back.

        What this yields has it removed in any case.
        """
        path = self._tree.path(address)
        aside = path + _SET_ASIDE
        with suppress(FileNotFoundError):
            os.rename(path, aside)
        stays_away = False

        def keep_away() -> None:
            nonlocal stays_away
            stays_away = True

        try:
            yield keep_away
        finally:
            with suppress(FileNotFoundError):
                if stays_away or os.path.exists(path):
                    os.remove(aside)
                else:
                    os.rename(aside, path)


def open_repair(settings: Settings, node: Node, backup: BackupStore | None) -> Repair:
    """Return what repairs the server directory of ``settings``; find out whether a server runs on it.  Blocking."""
    path = settings.serverdir
    tokens = NodeTokens(read_secret(path, settings.secretfile))
    found = ask_local_server(path, node, "/+api")
    server = primary = None
    if found is not None:
        # The request does not leave this machine, whose loopback address no certificate names.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        server = PeerClient(found[0].url, node.node_id, tokens, context=context)
    elif node.primary_url is not None:
        primary = PeerClient(node.primary_url, node.node_id, tokens, settings.ca_file)
    return Repair(path, node, backup, server, primary, time.sleep)


def remove_view(path: str) -> None:
    """Remove the view of a server directory, so that the next start makes it anew; raise ``ServerdirRefused`` beside a server."""
    with closing(ServerDirectory.open(path)) as serverdir:
        drop_view(Layout(serverdir.layout.path).view)
