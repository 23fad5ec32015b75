"""A restart within the same process: the program is executed anew, with its listening sockets and the directory's lock open.

A promotion and a fence change what a server is, which ``node.json`` says and only a start reads.  The process keeps its
number, so twistd's pid file, systemd and supervisord notice nothing.  Clients that connect meanwhile wait in the system's queue.
What the new program inherits stands in one variable of its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Final, NoReturn

import attrs
import orjson

if TYPE_CHECKING:
    from twisted.internet.tcp import Port

_VARIABLE: Final = "TWISTPI_INHERITED"


@attrs.frozen
class Inherited:
    """What a restarted server has from the program that ran before in its process."""

    pid: int
    """The process.  The variable means nothing to another one, such as a child."""
    sockets: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)
    """Descriptor and address family of the listening socket of each endpoint."""
    lock: int | None = None
    """The descriptor that holds the lock of the server directory."""

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Inherited | None:
        """Return what this process inherits, and remove it from ``environment``; None when it was not restarted."""
        text = environment.pop(_VARIABLE, None)
        if text is None:
            return None
        fields = orjson.loads(text)
        if fields["pid"] != os.getpid():
            return None
        inherited = cls(fields["pid"], {name: tuple(pair) for name, pair in fields["sockets"].items()}, fields["lock"])
        for descriptor in inherited.descriptors:
            os.set_inheritable(descriptor, False)
        return inherited

    @property
    def descriptors(self) -> list[int]:
        """Every descriptor that is inherited."""
        locks = [] if self.lock is None else [self.lock]
        return [descriptor for descriptor, _family in self.sockets.values()] + locks


def continue_twistd(options: MutableMapping[str, object]) -> str | None:
    """Change twistd's ``options`` for a process that is a daemon already, if it is to be one, and has dropped its privileges.

    Return the path of the pid file, which the caller has to remove in the end: twistd would refuse to start over a file with its
    own number.
    """
    if not options.get("nodaemon"):
        options["logfile"] = options.get("logfile") or "twistd.log"
    pidfile = options.get("pidfile")
    options.update(nodaemon=True, pidfile="", uid=None, gid=None, chroot=None)
    return os.path.abspath(str(pidfile)) if pidfile else None


def execute(ports: Mapping[str, Port], lock: int | None, directory: str) -> NoReturn:
    """Execute the program of this process anew in ``directory``, where it was started, over the sockets of ``ports``.

    Raise ``OSError`` when that is impossible.
    """
    # A signal that comes before the new program has its handlers: SIGHUP must not end it, and it opens all logs anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.getcwd() != directory:
        with contextlib.suppress(OSError):  # privileges were dropped since
            os.chdir(directory)
    sockets = {endpoint: (os.dup(port.fileno()), int(port.socket.family)) for endpoint, port in ports.items()}
    inherited = Inherited(os.getpid(), sockets, lock)
    for descriptor in inherited.descriptors:
        os.set_inheritable(descriptor, True)
    environment = {**os.environ, _VARIABLE: orjson.dumps(attrs.asdict(inherited)).decode()}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
