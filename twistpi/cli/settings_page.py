"""The documentation page of the settings, generated from their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twistpi.server.settings import CONFIG, TABLE, Setting

_HEAD = """\
Settings
========

.. Made by "make docs" from twistpi/server/settings.py.

Every setting can be given in three places, in order of precedence:

1. on the command line: ``twistd twistpi --request-timeout 10``;
2. in the environment: ``TWISTPI_REQUEST_TIMEOUT=10``;
3. in a TOML file: ``request-timeout = 10``, with ``--config twistpi.toml`` or ``TWISTPI_CONFIG``.

The server does not start if a value is not allowed, or if the file has an unknown setting; a message says where the error is and
what is allowed. An unknown environment variable ``TWISTPI_…`` is only mentioned in the log. A flag is ``true`` if it is on the
command line; in the environment and the file it is ``true`` or ``false``. Relative paths start at the directory in which twistd
is started.
"""

GROUPS: Mapping[str, Sequence[str]] = {
    "The server": (
        *("config", "serverdir", "host", "port", "listen"),
        *("workers", "max-connections", "stop-timeout", "page-cache-size"),
    ),
    "Mirrors": (
        *("upstream", "no-root-pypi", "mirror-cache-expiry", "request-timeout"),
        *("offline", "ca-file", "forbidden-networks"),
    ),
    "Users and uploads": (
        *("root-passwd", "root-passwd-hash", "restrict-modify", "login-hours"),
        *("bcrypt-cost", "secretfile", "max-upload-size", "lenient-accept"),
    ),
    "Behind a proxy": ("outside-url", "trusted-proxy"),
    "Replicas": (
        *("primary-url", "history", "replicate-files"),
        *("replicate-at-once", "file-search-path", "proxy-timeout"),
    ),
    "Logs and figures": ("log-level", "log-format", "access-log", "metrics-from", "disk-reserve"),
}
"""Every setting, under its heading on the page."""


def settings_page() -> str:
    """Return the page as reStructuredText."""
    settings = {setting.name: setting for setting in (*TABLE, CONFIG)}
    parts = [_HEAD]
    for heading, names in GROUPS.items():
        parts += [f"{heading}\n{'-' * len(heading)}\n", *(_section(settings[name]) for name in names)]
    return "\n".join(parts)


def _section(setting: Setting) -> str:
    placeholder = f" {setting.kind.placeholder}" if setting.kind.placeholder else ""
    places = f"``--{setting.name}{placeholder}``, ``{setting.variable}``"
    unit = f" ({setting.unit})" if setting.unit else ""
    allowed = setting.kind.allowed.removeprefix("it must be ").removeprefix("it ")
    several = f"as repeated options ``--{setting.name}``, as words separated by spaces in the variable, or as a list in the file"
    about = f"{setting.help[0].upper()}{setting.help[1:]}{unit}."
    facts = [f":given as: {places}", f":default: {setting.shown_default}", f":allowed: {allowed}"]
    lines = [setting.name, "~" * len(setting.name), "", about, "", *facts, ""]
    return "\n".join([*lines, f"Several values can be given {several}.\n"] if setting.repeatable else lines)
