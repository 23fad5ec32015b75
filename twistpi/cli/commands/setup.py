"""Commands that set a server up: and start it: ``init``, ``serve``, ``passwd``, ``gen-config``."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing

import click
from twisted.scripts import twistd

from twistpi.auth.passwords import BLANK
from twistpi.changelog.disk import Disk
from twistpi.cli import cluster_config
from twistpi.cli.administration import administer
from twistpi.cli.cluster_config import ClusterDeployment
from twistpi.cli.commands.common import FOLDER, now, settings_options
from twistpi.cli.genconfig import FILES, Deployment, closed_to_others, find_twistd, own_name, render, write
from twistpi.model.errors import TwistpiError, unknown_user
from twistpi.model.records import ROOT
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.node import read_node
from twistpi.server.settings import CONFIG, TABLE, Setting, Settings
from twistpi.server.settings import GROUPS as SETTING_GROUPS
from twistpi.server.storage import ROOT_MIRROR, Storage, open_directory

_ATTEMPTS = 3
_OWN_USER = "twistpi"
"""The user that runs the server if root sets it up."""
_LOGS = "/var/log/twistpi"
"""Where that user writes logs, because it should not be able to write beside its settings."""


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
    if settings.primary_url is not None:
        open_directory(settings).close()
        text = f"its server, once it is started, fetches everything from {settings.primary_url}"
        click.echo(f"Created the server directory {settings.serverdir} of a replica; {text}.")
        return
    with closing(Storage.open(settings, now, Disk())) as storage:
        indexes, root = storage.view.reader.indexes(), storage.view.reader.user(ROOT)
    click.echo(f"Created the server directory {settings.serverdir}.")
    for index in indexes:
        click.echo(f"The index {index.name} mirrors {index.config.get('mirror_url')}")
    if root is not None and root.password_hash == BLANK:
        command = f"twistpi passwd {ROOT} --serverdir {shlex.quote(settings.serverdir)}"
        click.echo(f"The password of {ROOT} is blank and accepted from this machine only. Set one: {command}")


class Serve(click.Command):
    """The command ``serve``: its options are the settings, under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading and its options."""
        rows = {str(parameter.name): parameter for parameter in self.params}
        for heading, names in SETTING_GROUPS.items():
            with formatter.section(heading):
                records = (rows[name.replace("-", "_")].get_help_record(ctx) for name in names)
                formatter.write_dl([record for record in records if record is not None])


def _setting_option(setting: Setting) -> click.Option:
    """Return the option of a setting; its value is judged by the server."""
    default = "" if setting.is_flag else f"  [default: {setting.shown_default}]"
    about = f"{setting.help[0].upper()}{setting.help[1:]}{'; may be repeated' if setting.repeatable else ''}.{default}"
    metavar, is_flag = setting.kind.placeholder or None, setting.is_flag
    return click.Option([f"--{setting.name}"], help=about, metavar=metavar, is_flag=is_flag, multiple=setting.repeatable)


@click.command(cls=Serve, params=[_setting_option(setting) for setting in (CONFIG, *TABLE)])
def serve(**given: str | bool | Sequence[str] | None) -> None:
    """Serve Python packages until the program is stopped, in the foreground.

    The server directory is created if it is missing. Each option is a setting: it can also be an environment variable
    (TWISTPI_PORT=4040) or stand in the TOML file of --config (port = 4040). The command is short for twistd -n --pidfile=
    twistpi; twistd itself has more options, such as to run as a daemon.
    """
    words = []
    for field, value in given.items():
        option = f"--{field.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] if value else []
        else:
            words += [f"{option}={text}" for text in ((value,) if isinstance(value, str) else value or ())]
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "twistpi", *words]
    try:
        twistd.run()
    except TwistpiError:  # it is in the log, which goes to the standard output
        sys.exit(1)


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
@click.option("--cluster", is_flag=True, help="Write the files of a cluster in containers instead: for Compose and Kubernetes.")
def gen_config(
    settings: Settings, hostname: str | None, prefix: str, user: str | None, directory: str, force: bool, cluster: bool
) -> None:
    """Write configuration files for supervisor, nginx, systemd, launchd, cron, uWSGI.

    With --cluster, write files for Compose, Kubernetes and Docker instead. The files contain the settings that are given as
    options, in the environment or in the file of --config, but no passwords.
    """
    directory = os.path.abspath(directory)
    if cluster:
        _check_of_cluster(prefix, user)
        _write_cluster(ClusterDeployment(settings, hostname or socket.gethostname()), directory, force=force)
        return
    user = user or _runner(settings.serverdir)
    hostname, logs = hostname or socket.gethostname(), directory if user == own_name() else _LOGS
    deployment = Deployment(settings, directory, find_twistd(sys.executable), hostname, user, prefix, logs)
    _require_user(user, settings.serverdir)
    write(render(deployment), directory, force=force)
    click.echo(f"Wrote to {directory}, for the server in {settings.serverdir} at port {settings.port}, run by {user}:\n")
    width = max(map(len, FILES))
    for name, what in FILES.items():
        click.echo(f"  {name:{width}}  {what}")
    for sentence in (*_closed_folders(deployment), *_first_steps(deployment)):
        click.echo(f"\n{sentence}")


def _check_of_cluster(prefix: str, user: str | None) -> None:
    for option, value, reason in (
        ("--prefix", prefix, "the balancer of a cluster sends every path to the nodes"),
        ("--user", user, "in containers the server has a user of its own"),
    ):
        if value:
            raise click.ClickException(f"{option} cannot be given with --cluster: {reason}. Leave it out; nothing was written.")


def _write_cluster(deployment: ClusterDeployment, directory: str, *, force: bool) -> None:
    rendered = cluster_config.to_write(cluster_config.render(deployment), directory)
    write(rendered, directory, force=force, private=cluster_config.SECRETS)
    click.echo(
        f"Wrote to {directory}, for a cluster that users call {deployment.hostname}, at port {deployment.settings.port}:\n"
    )
    width = max(map(len, cluster_config.FILES))
    for name, what in cluster_config.FILES.items():
        click.echo(f"  {name:{width}}  {what}")


def _require_user(user: str, serverdir: str) -> None:
    """Refuse a user that this machine does not have: one such file keeps all of supervisor from starting."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        folder = shlex.quote(serverdir)
        make = f"install --directory --owner={user} --group={user} {folder}"
        commands = (
            f"useradd --system --home-dir {folder} --shell /usr/sbin/nologin {user}",
            f"{_chown(user, serverdir)}    # stop its server first" if os.path.exists(serverdir) else make,
        )
        advice = "Create it with these commands, or name another one with --user; nothing was written.\n"
        raise click.ClickException("\n    ".join([f"There is no user {user} on this machine. {advice}", *commands])) from None


def _first_steps(deployment: Deployment) -> Iterator[str]:
    """Yield what must be done before the first start: to create the server directory, or to give it to the server's user."""
    path, user = deployment.settings.serverdir, deployment.user
    with contextlib.suppress(ServerdirRefused):
        if read_node(path) is None:
            yield f"The server starts on an existing server directory only. Create it first:\n\n    {deployment.init_command}"
        elif os.stat(path).st_uid != pwd.getpwnam(user).pw_uid:
            give = _chown(user, path)
            yield f"{path} belongs to another user than {user}. If a server runs on it, stop it, and then:\n\n    {give}"


def _chown(user: str, serverdir: str) -> str:
    """Return the command that makes a server directory that of ``user``."""
    return f"chown --recursive {user}: {shlex.quote(serverdir)}"


def _closed_folders(deployment: Deployment) -> Iterator[str]:
    """Yield a sentence for each folder whose mode keeps out a user who needs access."""
    if (to_files := closed_to_others(deployment.settings.serverdir)) is not None:
        yield f"Only the owner of {to_files} can enter it, so a web server cannot send files by itself: chmod o+x {to_files}"
    if deployment.user != own_name():
        needed = {"the settings": deployment.directory, "the program": deployment.twistd, "Python": deployment.interpreter}
        for what, path in needed.items():
            if (closed := closed_to_others(path)) is not None:
                yield f"Only the owner of {closed} can enter it, so {deployment.user} cannot get to {what}: chmod o+x {closed}"


def _runner(serverdir: str) -> str:
    """Return the owner of the server directory, or the user of this process; instead of root, the user ``twistpi``."""
    try:
        name = pwd.getpwuid(os.stat(serverdir).st_uid).pw_name
    except (OSError, KeyError):
        name = getpass.getuser()
    return _OWN_USER if name == "root" else name
