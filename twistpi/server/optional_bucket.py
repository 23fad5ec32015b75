"""The bucket of a server, if its settings name one; botocore is loaded only then."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.tree import Tree
from twistpi.model.errors import TwistpiError
from twistpi.server.process import IServerReactor
from twistpi.server.settings import Settings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

    from twistpi.s3.threads import StoppedReactor
    from twistpi.server.bucket import NodeBucket


def check_bucket(settings: Settings) -> None:
    """Raise ``TwistpiError`` for a bucket without the changelog of a cluster: its files would be of one machine."""
    if settings.blobs is not None and settings.changelog is None:
        raise TwistpiError("The setting blobs needs a changelog that is shared, too: --changelog postgresql://…")


def find_bucket(
    settings: Settings,
    tree: Tree,
    log_id: str,
    reactor: IServerReactor,
    environment: Mapping[str, str],
    fail: Callable[[Exception], object] = lambda _error: None,
    for_threads: IReactorFromThreads | None = None,
) -> NodeBucket | None:
    """Return the bucket that ``settings`` name, with ``tree`` as its cache, for the changelog ``log_id``; None without one.

    ``environment`` has the proxies; ``fail`` is called later if the bucket cannot be used; ``for_threads`` is the reactor for
    threads that wait, if that is another one.  Raise ``TwistpiError``.
    """
    if settings.blobs is None:
        return None
    from twistpi.server.bucket import open_blobs  # noqa: PLC0415 loads botocore

    return open_blobs(settings, settings.blobs, tree, log_id, reactor, environment, fail, for_threads)


def run_bucket(settings: Settings, tree: Tree, log_id: str, until: ExitStack) -> NodeBucket | None:
    """Return the same for a command, in which no reactor runs: once it is needed it does, in a thread, until ``until`` ends."""
    if settings.blobs is None:
        return None
    from twisted.internet import reactor  # noqa: PLC0415 a server chooses its reactor first

    from twistpi.s3.threads import OnDemand  # noqa: PLC0415 loads botocore

    on_demand = OnDemand(cast("StoppedReactor", reactor))
    until.callback(on_demand.stop)
    return find_bucket(settings, tree, log_id, cast("IServerReactor", reactor), os.environ, for_threads=on_demand)


@contextmanager
def blobs_to_look_at(settings: Settings, log_id: str) -> Iterator[IBlobs]:
    """Yield the blobs of a server directory for a command that does not have its lock: those in the bucket, if it has one.

    Raise ``TwistpiError``.
    """
    tree = Tree(settings.serverdir)
    with ExitStack() as until:
        bucket = run_bucket(settings, tree, log_id, until)
        if bucket is None:
            yield tree
        else:
            until.callback(bucket.close)
            yield bucket.blobs
