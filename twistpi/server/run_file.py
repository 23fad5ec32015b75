"""``running.json``: where the server that runs on a server directory answers, so that commands find it.

Written when it listens, removed when it stops.  A server that was killed leaves it behind: whether one runs is told by the lock
of the directory (``serverdir``), where it answers by this file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import orjson

from twistpi.model.records import NOTHING

_NAME = "running.json"
TOLD_SETTINGS = ("outside-url", "max-upload-size", "trusted-proxy", "disk-reserve", "offline", "secretfile", "ca-file")
"""Settings that a running server tells, for ``twistpi doctor``."""


@attrs.frozen
class Running:
    """What ``running.json`` says."""

    pid: int
    """The process that wrote it."""
    addresses: tuple[str, ...]
    """Where it answers, as this machine reaches it: ``http://127.0.0.1:3141/``, ``https://[::1]:3141/``, ``unix:/run/x.sock``."""
    settings: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    """Settings that are not at their default, as on the command line; of ``TOLD_SETTINGS``."""


def say_running(serverdir: str, addresses: Sequence[str], settings: Mapping[str, Sequence[str]] = NOTHING) -> None:
    """Say that this process answers at ``addresses`` and has ``settings``; the whole file at once.  Raises ``OSError``."""
    path = os.path.join(serverdir, _NAME)
    content = {"pid": os.getpid(), "addresses": list(addresses), "settings": dict(settings)}
    with open(f"{path}.new", "wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    os.replace(f"{path}.new", path)


def say_stopped(serverdir: str) -> None:
    """Take that back, if it is this process's word."""
    running = read_running(serverdir)
    if running is not None and running.pid == os.getpid():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(serverdir, _NAME))


def read_running(serverdir: str) -> Running | None:
    """What the last server to run on ``serverdir`` said; None when it stopped in order, or when the file cannot be understood."""
    try:
        with open(os.path.join(serverdir, _NAME), "rb") as file:
            fields: Any = orjson.loads(file.read())
        settings = {str(name): [str(text) for text in texts] for name, texts in fields.get("settings", {}).items()}
        return Running(int(fields["pid"]), tuple(str(address) for address in fields["addresses"]), settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def address_of(host: Any) -> str | None:
    """How this machine reaches a port that listens at ``host``, the result of its ``getHost()``, without the scheme.

    ``127.0.0.1:3141``, ``[::1]:3141`` or ``unix:/run/twistpi.sock``; None for what is neither.  A port that listens on every
    interface is reached on loopback.
    """
    if hasattr(host, "host"):
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.host, host.host)
        return f"[{name}]:{host.port}" if ":" in name else f"{name}:{host.port}"
    name = getattr(host, "name", None)
    return f"unix:{os.fsdecode(name)}" if name else None
