"""Places for backups as options of commands: folders, other machines, buckets."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import attrs
import click

from twistpi.backup.rsync import RsyncStore
from twistpi.backup.store import BackupStore, FolderStore
from twistpi.cli.commands.common import Command
from twistpi.s3.address import SCHEME
from twistpi.server.directory import making_private
from twistpi.server.settings import Settings


@attrs.frozen
class Access:
    """How a place for backups is reached; None for the usual way."""

    rsh: str | None
    s3_endpoint: str | None
    s3_region: str | None


def access_options(command: Command) -> Command:
    """Add the options that say how a place for backups is reached, and pass them as ``access``."""

    @functools.wraps(command)
    def run(*words: object, rsh: str | None, s3_endpoint: str | None, s3_region: str | None, **more: object) -> None:
        command(*words, access=Access(rsh, s3_endpoint, s3_region), **more)

    run = click.option("--rsh", metavar="COMMAND", help="What rsync reaches the other machine by.  [default: ssh]")(run)
    run = click.option("--s3-endpoint", metavar="URL", help="The S3 server that has the bucket.  [default: that of AWS]")(run)
    return click.option("--s3-region", metavar="NAME", help="The region of the bucket.  [default: us-east-1]")(run)


def parent_of(path: str) -> str | None:
    """Return the folder of ``path`` for files on their way, on the same disk; None when it does not exist."""
    parent = os.path.dirname(os.path.abspath(path))
    return parent if os.access(parent, os.W_OK) else None


@contextmanager
def open_store(place: str, access: Access, settings: Settings, staging: str | None = None) -> Iterator[BackupStore]:
    """Return the store at ``place``; what is made meanwhile, nobody else may read."""
    with making_private(), ExitStack() as opened:
        if place.startswith(SCHEME):
            from twistpi.backup.bucket import open_bucket_store  # noqa: PLC0415 loads botocore, and needs the reactor

            options = (access.s3_endpoint, access.s3_region, os.environ, settings.ca_file, staging)
            yield opened.enter_context(open_bucket_store(place, *options))
        elif place.startswith("ssh://") or ":" in place.partition("/")[0]:
            yield opened.enter_context(closing(RsyncStore.parse(place, access.rsh, staging)))
        else:
            yield opened.enter_context(closing(FolderStore.at(place)))
