"""Configuration files for process supervisors and web servers, made from the templates of ``etc/``.

What no two of those programs write alike, and no path needs, is refused (``check_path``); what is left of characters with a
meaning is the space, the percent sign, and what only shells and XML care about.
"""

from __future__ import annotations

import html
import math
import os
import pwd
import re
import shlex
import shutil
import stat
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files as files_of
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import attrs
import click
import jinja2

from twistpi import __version__
from twistpi.blobs.tree import ROOT
from twistpi.server.settings import TABLE, Setting, Settings

_IN_NO_PATH: Final = frozenset("\"'`\\$;#{}<>,")


def cannot_be_written(what: str, value: str, reason: str) -> click.ClickException:
    """Return the refusal of a value that some file could not hold."""
    return click.ClickException(f"No configuration can be written for {what} {value!r}: {reason}.")


def check_path(what: str, path: str) -> str:
    """Return the path of ``what``; raise ``ClickException`` if it has characters that mean something in such files."""
    strange = sorted({character for character in path if character in _IN_NO_PATH or not character.isprintable()})
    if strange:
        shown = " ".join(character if character.isprintable() else repr(character)[1:-1] for character in strange)
        reason = f"the characters {shown} have a special meaning in these files; use a path without them"
        raise cannot_be_written(what, path, reason)
    return path


def _doubled(text: str) -> str:
    """Return text for supervisor and systemd, in which a percent sign begins a substitution."""
    return text.replace("%", "%%")


def _supervisor_command(words: Sequence[str]) -> str:
    """Return a command. Each odd character has a backslash: quotes do not keep supervisor from seeing comments."""
    return _doubled(" ".join(re.sub(r"[^A-Za-z0-9_@+=:./-]", r"\\\g<0>", word) for word in words))


def _systemd(word: str) -> str:
    return f'"{_doubled(word)}"' if " " in word else _doubled(word)


def _cron_text(command: str) -> str:
    """Return a shell command for cron, which makes line feeds of percent signs."""
    return command.replace("%", "\\%")


def toml(value: object) -> str:
    """Return a value in TOML: a flag, a number, text, or a sequence of these."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml, value))}]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "nginx": '"{}"'.format,
    "regex": re.escape,
    "supervisor_text": _doubled,
    "supervisor_path": lambda path: _doubled(_doubled(path)),  # there supervisor looks for substitutions twice
    "supervisor_command": _supervisor_command,
    "systemd": _systemd,
    "systemd_command": lambda words: " ".join(map(_systemd, words)),
    "cron": lambda words: _cron_text(shlex.join(words)),
    "cron_text": _cron_text,
    # A shell runs it, and makes the percent signs, which mean something to uWSGI.
    "uwsgi_command": lambda words: shlex.join(words).replace("%", "'`printf '\\\\045'`'"),
    "shell": shlex.quote,
    "xml": html.escape,
}
"""What templates call the ways to write text, a word, a path or a command, by the program that reads it."""


FILES: Final[Mapping[str, str]] = {
    "twistpi.toml": "every setting; all other files make the server read it",
    "nginx-twistpi.conf": "link it into /etc/nginx/sites-enabled/, then: nginx -t && nginx -s reload",
    "nginx-twistpi-caching.conf": "instead of that one: nginx keeps pages, and serves them while twistpi is restarted",
    "twistpi.service": "link it and twistpi.socket into /etc/systemd/system/; its first lines say the rest",
    "twistpi.socket": "the port, which systemd keeps open while the server is restarted",
    "twistpi-backup.service": "a backup, which twistpi-backup.timer starts every hour",
    "twistpi-backup.timer": "link both into /etc/systemd/system/; its first lines say the rest",
    "supervisor-twistpi.conf": "link it into /etc/supervisor/conf.d/, then: supervisorctl update",
    "supervisord.conf": "if no supervisor runs: supervisord -c supervisord.conf",
    "uwsgi-twistpi.ini": "if uWSGI runs other applications already: uwsgi --ini uwsgi-twistpi.ini",
    "twistpi.plist": "macOS: copy it to /Library/LaunchDaemons/, then: launchctl bootstrap system …/twistpi.plist",
    "crontab": "if none of these is available: add its line with crontab -e",
    "windows-service.txt": "Windows: what to do",
}
"""The templates, which have the names of the files made from them, and how to install each."""
SETTINGS_FILE: Final = "twistpi.toml"

_OPEN_FILES: Final = 65536
"""Descriptors: two for each connection, and one for each file that is sent or received."""
_TO_CLOSE: Final = 50
"""Seconds that a server gets for closing its storage, after the last request."""
_BACKUPS: Final = "/var/backups/twistpi"
_KEPT: Final = "30d"
"""How long backups are kept."""
_CACHE_ROOT: Final = "/var/cache"
_LOOPBACK: Final = (ip_network("127.0.0.1"), ip_network("::1"))
_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_TEMPORARY: Final = ("/tmp/", "/var/tmp/")
_HOMES: Final = ("/home/", "/root/", "/run/user/")
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z|\[[0-9A-Fa-f:.]+\]\Z", re.ASCII)
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*\Z", re.ASCII)
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\Z", re.ASCII)


def _as_prefix(text: str) -> str:
    return f"/{text.strip('/')}" if text.strip("/") else ""


@attrs.frozen
class Deployment:
    """The values that the files contain.

    Raise ``ClickException`` for what some of the files could not hold.
    """

    settings: Settings
    directory: str
    """Where the files go; absolute."""
    twistd: str
    """The program; absolute."""
    hostname: str
    """The name that users have for the machine."""
    user: str
    """The user the server runs as."""
    prefix: str = attrs.field(default="", converter=_as_prefix)
    """The URL path of the server, with a slash at its beginning and none at its end; or empty."""
    logs: str = attrs.field()
    """The directory of logs and pid files, which the user must be able to write to."""
    host: str = attrs.field(init=False)
    """The IP address it listens on."""

    @logs.default
    def _logs(self) -> str:
        return self.directory

    @host.default
    def _host(self) -> str:
        host = "127.0.0.1" if self.settings.host == "localhost" else self.settings.host
        try:
            return str(ip_address(host))
        except ValueError:
            raise cannot_be_written("the host", host, "it must be an IP address") from None

    def __attrs_post_init__(self) -> None:
        paths = {"directory of logs": self.logs, "program": self.twistd}
        for what, path in {"server directory": self.settings.serverdir, "directory": self.directory, **paths}.items():
            check_path(f"the {what}", path)
        if self.settings.port == 0:
            raise cannot_be_written("the port", "0", "choose a fixed port, so that proxies can reach it")
        names = {"hostname": (self.hostname, _HOSTNAME), "user": (self.user, _USER), "prefix": (self.prefix, _PREFIX)}
        for what, (text, allowed) in names.items():
            if not allowed.match(text):
                raise cannot_be_written(f"the {what}", text, "it contains characters that are not allowed there")

    def path(self, name: str) -> str:
        """Return the path of the file ``name``."""
        return os.path.join(self.directory, name)

    @property
    def interpreter(self) -> str:
        """The Python that runs the program, with symbolic links resolved."""
        return os.path.realpath(os.path.join(os.path.dirname(self.twistd), "python3"))

    @property
    def init_command(self) -> str:
        """The command line that makes the server directory, as the user of the server."""
        words = [self._twistpi, "init", "--config", self.path(SETTINGS_FILE)]
        return shlex.join(words if self.user == own_name() else ["sudo", "-u", self.user, *words])

    @property
    def _twistpi(self) -> str:
        """The path of the command ``twistpi``, which is installed beside twistd."""
        return os.path.join(os.path.dirname(self.twistd), "twistpi")

    def _address(self, host: str) -> str:
        return f"[{host}]:{self.settings.port}" if ":" in host else f"{host}:{self.settings.port}"

    def facts(self) -> dict[str, object]:
        """Return the variables of the templates."""
        serverdir, config = self.settings.serverdir, self.path(SETTINGS_FILE)
        log_file, pid_file = os.path.join(self.logs, "twistpi.log"), os.path.join(self.logs, "twistpi.pid")
        run = ["twistpi", "--config", config]
        used = (serverdir, self.directory, self.twistd, self.interpreter)
        below_state = re.match(r"/var/lib/([^/ %]+)\Z", serverdir)
        return {
            "version": __version__,
            "logs": self.logs,
            "logs_to_make": None if self.logs == self.directory else self.logs,
            "config": config,
            "serverdir": serverdir,
            "files": os.path.join(serverdir, ROOT),
            "state_directory": below_state and below_state[1],
            "in_home": any(path.startswith(_HOMES) for path in used),
            "in_tmp": any(path.startswith(_TEMPORARY) for path in used),
            "path": self.path,
            "user": self.user,
            "hostname": self.hostname,
            "prefix": self.prefix,
            "port": self.settings.port,
            "upstream": self._address(_ALL.get(self.host, self.host)),
            "listen_stream": self._address(self.host),
            "family": "INET6" if ":" in self.host else "INET",
            "max_upload_size": self.settings.max_upload_size,
            "cache_root": _CACHE_ROOT,
            "open_files": _OPEN_FILES,
            "stop_seconds": math.ceil(self.settings.stop_timeout) + _TO_CLOSE,
            "log_file": log_file,
            "pid_file": pid_file,
            "command": [self.twistd, "--nodaemon", "--pidfile=", *run],
            "daemon_command": [self.twistd, "--pidfile", pid_file, "--logfile", log_file, *run],
            "init_command": self.init_command,
            "run_command": shlex.join([self._twistpi, "serve", "--config", config]),
            "backup_command": [self._twistpi, "backup", "--config", config, "--keep", _KEPT, _BACKUPS],
            "backup_folder": _BACKUPS,
            "settings": [_toml_setting(setting, self._value(setting)) for setting in TABLE],
        }

    def _value(self, setting: Setting) -> object:
        """Return the value of ``setting`` in the file; None for the default, and for secrets."""
        value = getattr(self.settings, setting.field)
        if setting.name in ("serverdir", "port"):
            return value
        if setting.name == "host":
            return self.host
        if setting.name == "require-initialised":
            return True
        if setting.name == "trusted-proxy" and not value:
            return _LOOPBACK
        is_dangerous = setting.kind.secret or (setting.kind.placeholder == "URL" and "@" in str(value))
        return None if is_dangerous or value == setting.default or setting.name == "listen" else value


def _toml_setting(setting: Setting, value: object) -> dict[str, str]:
    """Return the comment on a setting, without the first mark, and its line in ``twistpi.toml``."""
    unit = f" ({setting.unit})" if setting.unit else ""
    about, allowed = (f"{text[0].upper()}{text[1:]}" for text in (setting.help, setting.kind.allowed))
    text = f"{about}{unit}. {allowed}. Default: {setting.shown_default}."
    about = "\n# ".join(textwrap.wrap(text, 126, break_long_words=False, break_on_hyphens=False))
    if value is not None:
        return {"about": about, "line": f"{setting.name} = {toml(value)}"}
    shown: object = setting.kind.placeholder if setting.default is None or setting.kind.secret else setting.default
    if setting.repeatable and not setting.default:
        shown = (setting.kind.placeholder,)
    return {"about": about, "line": f"# {setting.name} = {toml(shown)}"}


def render(deployment: Deployment) -> dict[str, str]:
    """Return the contents of the files by name."""
    templates = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files_of("twistpi").joinpath("etc", name).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters.update(FILTERS)
    facts = deployment.facts()
    return {name: templates.get_template(name).render(facts) for name in FILES}


def write(rendered: Mapping[str, str], directory: str, *, force: bool, private: str = "") -> None:
    """Write the files to ``directory``, which is created if missing. Each file is replaced at once.

    The file ``private`` is readable by its owner only. Raise ``ClickException`` when they cannot be written, and, unless by
    ``force``, when files are there.
    """
    there = [name for name in rendered if os.path.lexists(os.path.join(directory, name))]
    if there and not force:
        advice = "name another --directory, or overwrite them with --force"
        raise click.ClickException(f"{directory} has {', '.join(there)} already, and nothing was written: {advice}.")
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=directory) as beside:
            for name, text in rendered.items():
                Path(beside, name).touch(0o600 if name == private else 0o666)
                Path(beside, name).write_text(text, encoding="utf-8")
            for name in rendered:
                os.replace(os.path.join(beside, name), os.path.join(directory, name))
    except OSError as error:
        raise click.ClickException(f"Nothing can be written to {directory}: {error.strerror}: {error.filename}.") from None


def own_name() -> str:
    """Return the name of the user who runs this."""
    return pwd.getpwuid(os.geteuid()).pw_name


def find_twistd(python: str, search: str | None = None) -> str:
    """Return the path of twistd beside the interpreter ``python``, or else on ``search`` or PATH; refuse to go without."""
    beside = os.path.join(os.path.dirname(os.path.abspath(python)), "twistd")
    found = beside if os.access(beside, os.X_OK) else shutil.which("twistd", path=search)
    if found is None:
        advice = "install twistpi into the environment that will run it, and run its own twistpi"
        raise click.ClickException(f"There is no twistd beside {python}: {advice}.")
    return os.path.abspath(found)


def closed_to_others(path: str) -> str | None:
    """Return the outermost folder above or at ``path`` that other users cannot enter; None if they can enter all."""
    parts = os.path.abspath(path).split("/")
    for depth in range(2, len(parts) + 1):
        folder = "/".join(parts[:depth])
        try:
            if not os.stat(folder).st_mode & stat.S_IXOTH:
                return folder
        except OSError:
            return None
    return None
