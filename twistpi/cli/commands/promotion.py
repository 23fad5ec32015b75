"""The commands ``promote`` and ``resync``: another server becomes the primary, and the former one its replica."""

from __future__ import annotations

import os

import click

from twistpi.auth.node_tokens import NodeTokens
from twistpi.cli.administering import administer
from twistpi.cli.asking import Asked
from twistpi.cli.commands.common import FILE, now, serverdir_option, settings_of, settings_options
from twistpi.cli.resyncing import Resynced
from twistpi.cli.resyncing import resync as make_replica
from twistpi.server.secret import read_secret
from twistpi.server.settings import Settings


@click.command()
@settings_options()
@click.option(
    "--force",
    is_flag=True,
    help="Go without what the primary has and this server lacks, or take over again from a successor that is lost.",
)
def promote(settings: Settings, force: bool) -> None:
    """Make a replica the primary, whether or not its server runs.

    The former primary, if it can be reached, first stops taking writes; then everything it has is waited for. When it comes
    back later, it refuses writes and says what only it has.
    """
    with administer(settings, now) as administration:
        promoted = administration.promote(force=force)
    for sentence in promoted.told:
        click.echo(sentence)
    click.echo(f"{settings.serverdir} is the primary from serial {promoted.serial} on; epoch {promoted.epoch} began.")
    if promoted.untold is not None:
        click.echo(f"The former primary at {promoted.untold} does not know yet; a running server tells it until it does.")
    click.echo("The setting primary-url has to go from its configuration, and other replicas have to be given its address.")


@click.command()
@serverdir_option
@click.option("--primary-url", metavar="URL", help="The server to follow.  [default: the one that is known]")
@click.option(
    "--secretfile", metavar="PATH", type=FILE, help="A copy of the secret of that server.  [default: the one that is here]"
)
def resync(serverdir: str | None, config: str | None, primary_url: str | None, secretfile: str | None) -> None:
    """Make a replica of a stopped server whose log went another way.

    What only it has is saved under diverged/. For a former primary after another server was promoted, and for a replica that says
    it diverged. Interrupted, it can be run again.
    """
    settings = settings_of(serverdir, config, secretfile=secretfile)
    path = os.path.abspath(settings.serverdir)
    tokens = NodeTokens(read_secret(settings.serverdir, settings.secretfile))
    url = primary_url.rstrip("/") if primary_url else settings.primary_url
    _say(path, secretfile, make_replica(path, url, lambda one, node_id: Asked(one, node_id, tokens, settings.ca_file)))


def _say(path: str, secretfile: str | None, done: Resynced) -> None:
    if done.other_log:
        click.echo("That server has another log; everything that is here was saved.")
    elif done.common == 0:
        click.echo("The logs have nothing in common that could be gone on with.")
    else:
        click.echo(f"The logs are the same up to serial {done.common}.")
    if done.anew:
        click.echo("The replica begins with nothing, and gets everything from there.")
    if done.saved is not None:
        count = done.last - done.common
        entries = "1 entry" if count == 1 else f"{count:,} entries"
        click.echo(f"What only this server had is in {done.saved}: {entries}, {done.blobs:,} files; summary.txt tells more.")
    else:
        click.echo("Nothing existed only here.")
    with_secret = f", and with --secretfile {secretfile}" if secretfile else ""
    click.echo(f"{path} is a replica's now; start it without settings that only a primary has{with_secret}.")
