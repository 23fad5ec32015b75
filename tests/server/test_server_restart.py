"""What a restarted server inherits, and what it leaves out of twistd's work."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory

from tests.in_reactor import in_reactor
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import ServerDirectory
from twistpi.server.listening import InheritedSocket, inherited_endpoint
from twistpi.server.restart import Inherited, continue_twistd

reactor: Any = installed_reactor
VARIABLE = "TWISTPI_INHERITED"


def test_what_is_inherited_is_for_this_process_and_not_for_its_children(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        told = {"pid": os.getpid(), "sockets": {"tcp:3141": [file.fileno(), 2]}, "lock": None}
        environment = {VARIABLE: orjson.dumps(told).decode(), "PATH": "/bin"}
        inherited = Inherited.take(environment)
        assert inherited is not None
        assert inherited.sockets == {"tcp:3141": (file.fileno(), 2)}
        assert environment == {"PATH": "/bin"}
        assert not os.get_inheritable(file.fileno())
        assert Inherited.take(environment) is None
        assert Inherited.take({VARIABLE: orjson.dumps({**told, "pid": os.getppid()}).decode()}) is None


def test_a_daemon_is_not_made_twice() -> None:
    options: dict[str, Any] = {
        "nodaemon": False,
        "logfile": None,
        "pidfile": "twistd.pid",
        "uid": 1000,
        "gid": 1000,
        "chroot": None,
    }
    assert continue_twistd(options) == os.path.abspath("twistd.pid")
    assert options == {"nodaemon": True, "logfile": "twistd.log", "pidfile": "", "uid": None, "gid": None, "chroot": None}
    options = {"nodaemon": True, "logfile": None, "pidfile": ""}
    assert continue_twistd(options) is None
    assert (options["nodaemon"], options["logfile"]) == (True, None)


def test_the_lock_of_the_directory_outlasts_the_one_who_took_it(tmp_path: Path) -> None:
    path = str(tmp_path / "data")
    first = ServerDirectory.open(path)
    lock = first.keep_locked()
    first.close()
    with pytest.raises(ServerdirRefused, match="another process uses it"):
        ServerDirectory.open(path)
    ServerDirectory.open(path, lock=lock).close()
    ServerDirectory.open(path).close()


@in_reactor
async def test_an_inherited_unix_socket_keeps_its_mode_and_is_removed_in_the_end_with_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "twistpi.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o660)
    server.listen()
    server.setblocking(False)
    os.symlink(str(os.getpid()), f"{path}.lock")
    inherited = InheritedSocket(f"unix:{path}", os.dup(server.fileno()), socket.AF_UNIX)
    port: Any = await inherited_endpoint(reactor, inherited).listen(Factory())
    server.close()
    assert path.stat().st_mode & 0o777 == 0o660
    await port.stopListening()
    assert list(tmp_path.iterdir()) == []
