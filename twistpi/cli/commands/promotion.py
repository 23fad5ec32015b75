"""The commands ``promote`` and ``resync``: a replica becomes the primary, and the former primary its replica."""

from __future__ import annotations

import os

import click

from twistpi.auth.tokens import NodeTokens
from twistpi.cli.administration import administer
from twistpi.cli.clients import PeerClient
from twistpi.cli.commands.common import FILE, now, serverdir_option, settings_of, settings_options
from twistpi.cli.resync import Resynced
from twistpi.cli.resync import resync as make_replica
from twistpi.server.secret import read_secret
from twistpi.server.settings import Settings


@click.command()
@settings_options()
@click.option(
    "--force",
    is_flag=True,
    help="Continue without entries and files that are missing here, or become the primary again if the new one is lost.",
)
def promote(settings: Settings, force: bool) -> None:
    """Make a replica the primary, whether or not its server runs.

    If the former primary can be reached, it stops accepting writes, and the replica first receives everything from it. Otherwise,
    when the former primary comes back, it refuses writes and reports what only it has. A running server restarts in place.
    """
    with administer(settings, now) as administration:
        promoted = administration.promote(force=force)
    for sentence in promoted.told:
        click.echo(sentence)
    click.echo(f"{settings.serverdir} is the primary from serial {promoted.serial} on; epoch {promoted.epoch} began.")
    if promoted.untold is not None:
        click.echo(f"The former primary at {promoted.untold} does not know yet; a running server tells it until it does.")
    click.echo("Remove primary-url from its configuration, and start the other replicas with its address as primary-url.")


@click.command()
@serverdir_option
@click.option("--primary-url", metavar="URL", help="The server to follow.  [default: the new primary, if known]")
@click.option(
    "--secretfile", metavar="PATH", type=FILE, help="A copy of that server's secret.  [default: the server directory's secret]"
)
def resync(serverdir: str | None, config: str | None, primary_url: str | None, secretfile: str | None) -> None:
    """Make a stopped server whose log diverged a replica.

    Use it for a former primary after another server was promoted, and for a replica whose state is diverged. Entries and files
    that only this server has are saved under diverged/. After an interruption the command can be run again.
    """
    settings = settings_of(serverdir, config, secretfile=secretfile)
    path = os.path.abspath(settings.serverdir)
    tokens = NodeTokens(read_secret(settings.serverdir, settings.secretfile))
    url = primary_url.rstrip("/") if primary_url else settings.primary_url
    _say(path, secretfile, make_replica(path, url, lambda one, node_id: PeerClient(one, node_id, tokens, settings.ca_file)))


def _say(path: str, secretfile: str | None, done: Resynced) -> None:
    if done.other_log:
        click.echo("That server has another log; everything on this server was saved.")
    elif done.common == 0:
        click.echo("The logs have no entries in common that the replica could continue from.")
    else:
        click.echo(f"The logs are the same up to serial {done.common}.")
    if done.anew:
        click.echo("The replica starts empty and fetches everything from its primary.")
    if done.saved is not None:
        count = done.last - done.common
        entries = "1 entry" if count == 1 else f"{count:,} entries"
        click.echo(f"What only this server had is in {done.saved}: {entries}, {done.blobs:,} files; summary.txt tells more.")
    else:
        click.echo("Nothing existed only here.")
    with_secret = f", and with --secretfile {secretfile}" if secretfile else ""
    click.echo(f"{path} is now the directory of a replica; start its server without settings for a primary{with_secret}.")
