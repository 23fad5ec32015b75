"""A real pgbouncer in front of a database, which gives each transaction another connection."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from tests.fakes.ports import free_port
from tests.fakes.postgres import own_folder, unprivileged


@attrs.define(eq=False)
class Pgbouncer:
    """A pool that listens on loopback until ``stop``."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, server_port: int, connections: int) -> Pgbouncer:
        """A pool of so many connections to the PostgreSQL at ``server_port`` of loopback.  Blocking."""
        folder, port = own_folder("twistpi-pgbouncer-"), free_port()
        (folder / "users").write_text('"twistpi" ""\n')
        (folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 100
""")
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        assert Path(program).exists(), "pgbouncer is missing: make programs, or apt-get install pgbouncer"
        with (folder / "log").open("wb") as log:
            command = unprivileged(program, str(folder / "pgbouncer.ini"))
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        pool = cls(folder, port, process)
        pool.wait()
        return pool

    def wait(self) -> None:
        """Return when it listens."""
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def through(self, url: str) -> str:
        """The address of the database at ``url`` through the pool."""
        return url.replace(f":{urlsplit(url).port}/", f":{self.port}/")

    def stop(self) -> None:
        """End it, with all connections."""
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
