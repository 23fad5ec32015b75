"""The command ``gen-config``."""

from __future__ import annotations

import getpass
import os
import pwd
import socket
import sys
from collections.abc import Iterator

import click

from twistpi.cli.commands.common import FOLDER, settings_options
from twistpi.cli.genconfig import FILES, Deployment, closed_to_others, find_twistd, render, write
from twistpi.server.settings import Settings

_OWN_USER = "twistpi"
"""Who runs the server where root sets it up."""
_LOGS = "/var/log/twistpi"
"""Where that user writes logs: it had better not write where its settings are."""


@click.command("gen-config")
@settings_options("host", "port")
@click.option("--host", metavar="ADDRESS", help="The IP address the server listens on.  [default: 127.0.0.1]")
@click.option("--port", metavar="NUMBER", help="The port it listens on.  [default: 3141]")
@click.option("--hostname", metavar="NAME", help="How users call this machine.  [default: its name]")
@click.option("--prefix", metavar="PATH", default="", help="The path below which users see it.  [default: none]")
@click.option(
    "--user",
    metavar="NAME",
    help="Who runs the server.  [default: the owner of the server directory; where that is root, twistpi]",
)
@click.option("--directory", metavar="PATH", type=FOLDER, default="gen-config", show_default=True, help="Where the files go.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def gen_config(settings: Settings, hostname: str | None, prefix: str, user: str | None, directory: str, force: bool) -> None:
    """Write files for supervisor, nginx, systemd, launchd, cron, uWSGI and settings.

    Settings that are given, in the environment or in the file of --config too, are written down; passwords are not.
    """
    directory = os.path.abspath(directory)
    user = user or _runner(settings.serverdir)
    hostname, logs = hostname or socket.gethostname(), directory if user == _own_name() else _LOGS
    deployment = Deployment(settings, directory, find_twistd(sys.executable), hostname, user, prefix, logs)
    write(render(deployment), directory, force=force)
    click.echo(f"Wrote to {directory}, for the server in {settings.serverdir} at port {settings.port}, run by {user}:\n")
    width = max(map(len, FILES))
    for name, what in FILES.items():
        click.echo(f"  {name:{width}}  {what}")
    for sentence in _closed_folders(deployment):
        click.echo(f"\n{sentence}")


def _closed_folders(deployment: Deployment) -> Iterator[str]:
    """A sentence for each folder that keeps somebody out who has to get in."""
    if (to_files := closed_to_others(deployment.settings.serverdir)) is not None:
        yield f"Only the owner of {to_files} can enter it, so a web server cannot send files by itself: chmod o+x {to_files}"
    if deployment.user != _own_name():
        needed = {"the settings": deployment.directory, "the program": deployment.twistd, "Python": deployment.interpreter}
        for what, path in needed.items():
            if (closed := closed_to_others(path)) is not None:
                yield f"Only the owner of {closed} can enter it, so {deployment.user} cannot get to {what}: chmod o+x {closed}"


def _own_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _runner(serverdir: str) -> str:
    """The owner of the server directory, or else who asks; root leaves that to a user made for it."""
    try:
        name = pwd.getpwuid(os.stat(serverdir).st_uid).pw_name
    except (OSError, KeyError):
        name = getpass.getuser()
    return _OWN_USER if name == "root" else name
