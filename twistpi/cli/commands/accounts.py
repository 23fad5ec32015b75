"""Commands for the beginning and for passwords: ``init``, ``passwd``."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing

import click

from twistpi.auth.passwords import BLANK
from twistpi.changelog.disk import Disk
from twistpi.cli.administration import administer
from twistpi.cli.commands.common import now, settings_options
from twistpi.model.errors import unknown_user
from twistpi.model.records import ROOT
from twistpi.model.storage_errors import ServerdirRefused
from twistpi.server.first_start import ROOT_MIRROR
from twistpi.server.node import read_node
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage

_ATTEMPTS = 3


@click.command()
@settings_options("root_passwd", "root_passwd_hash", "no_root_pypi", "upstream")
@click.option("--root-passwd", metavar="TEXT", help="The password of root.  [default: blank, accepted from this machine only]")
@click.option("--root-passwd-hash", metavar="HASH", help="The hash of that password, instead of the password itself.")
@click.option("--no-root-pypi", is_flag=True, help=f"Do not create the index {ROOT_MIRROR}.")
@click.option("--upstream", metavar="URL", help=f"The simple index that {ROOT_MIRROR} mirrors.")
def init(settings: Settings) -> None:
    """Create a server directory, with the user root and a mirror of the public index.

    A server does the same when it starts on a directory that is empty or missing. This command starts no server.
    """
    node = read_node(settings.serverdir)
    if node is not None and node.initialised:
        raise ServerdirRefused(settings.serverdir, "it is a server directory already; nothing was changed")
    with closing(Storage.open(settings, now, Disk())) as storage:
        indexes, root = storage.view.reader.indexes(), storage.view.reader.user(ROOT)
    click.echo(f"Created the server directory {settings.serverdir}.")
    for index in indexes:
        click.echo(f"The index {index.name} mirrors {index.config.get('mirror_url')}")
    if root is not None and root.password_hash == BLANK:
        command = f"twistpi passwd {ROOT} --serverdir {shlex.quote(settings.serverdir)}"
        click.echo(f"The password of {ROOT} is blank and accepted from this machine only. Set one: {command}")


@click.command()
@settings_options()
@click.option("--stdin", is_flag=True, help="Read the password from the first line of the standard input instead of prompting.")
@click.argument("user", required=False)
def passwd(settings: Settings, stdin: bool, user: str | None) -> None:
    """Set the password of USER, and prompt for it twice.

    Use it to replace a forgotten password, and to give root its first one. On a running server it takes effect at once.
    """
    if user is None:
        user = click.prompt("User to set password for")
    with administer(settings, now) as administration:
        if administration.reader.user(user) is None:
            raise unknown_user(user)
    # The directory's lock is not held while the prompt waits.
    password = _read_password() if stdin else _ask_password(user)
    with administer(settings, now) as administration:
        administration.set_password(user, password)
    click.echo(f"The password of {user} is set.")


def _read_password() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.ClickException("there is no password in the standard input")
    return password


def _ask_password(user: str) -> str:
    for _ in range(_ATTEMPTS):
        password: str = click.prompt(f"enter password for {user}", hide_input=True, default="", show_default=False)
        again: str = click.prompt(f"repeat password for {user}", hide_input=True, default="", show_default=False)
        if password and password == again:
            return password
        click.echo("the passwords differ" if password != again else "the password is empty", err=True)
    raise click.ClickException("no password was set")
