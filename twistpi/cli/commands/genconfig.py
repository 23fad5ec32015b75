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
"""The user that runs the server if root sets it up."""
_LOGS = "/var/log/twistpi"
"""Where that user writes logs, because it should not be able to write beside its settings."""


@click.command("gen-config")
@settings_options("host", "port")
@click.option("--host", metavar="ADDRESS", help="The IP address the server listens on.  [default: 127.0.0.1]")
@click.option("--port", metavar="NUMBER", help="The port it listens on.  [default: 3141]")
@click.option("--hostname", metavar="NAME", help="The host name that users see.  [default: this machine's name]")
@click.option("--prefix", metavar="PATH", default="", help="The path prefix that users see.  [default: none]")
@click.option(
    "--user",
    metavar="NAME",
    help="The user that runs the server.  [default: the owner of the server directory; twistpi if that is root]",
)
@click.option("--directory", metavar="PATH", type=FOLDER, default="gen-config", show_default=True, help="The folder to write to.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def gen_config(settings: Settings, hostname: str | None, prefix: str, user: str | None, directory: str, force: bool) -> None:
    """Write configuration files for supervisor, nginx, systemd, launchd, cron, uWSGI.

    The files contain the settings that are given as options, in the environment or in the file of --config, but no passwords.
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
    """Yield a sentence for each folder whose mode keeps out a user who needs access."""
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
    """Return the owner of the server directory, or the user of this process; instead of root, the user ``twistpi``."""
    try:
        name = pwd.getpwuid(os.stat(serverdir).st_uid).pw_name
    except (OSError, KeyError):
        name = getpass.getuser()
    return _OWN_USER if name == "root" else name
