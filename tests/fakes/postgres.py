"""A real PostgreSQL on loopback, one for a process of the tests, with a new database for each test."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import attrs
import psycopg

from tests.fakes.ports import free_port

_NUMBERS = count(1)
_SETTINGS = (
    *("fsync=off", "full_page_writes=off"),  # what matters is a server that is killed, not a machine that loses its power
    *("listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=32MB", "autovacuum=off", "log_statement=none"),
)


def program(name: str) -> str:
    """The path of a program of PostgreSQL, the newest there is."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    path = str(found[-1]) if found else shutil.which(name)
    assert path, f"{name} is missing: make programs, or apt-get install postgresql"
    return path


def unprivileged(*command: str) -> list[str]:
    """``command`` as PostgreSQL wants to be run: not by root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command] if os.getuid() == 0 else list(command)


def own_folder(prefix: str) -> Path:
    """A new folder of the user that PostgreSQL runs as."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    return folder


@attrs.define(eq=False)
class PostgresServer:
    """A server, with a folder of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    settings: tuple[str, ...] = ()
    """Beside those of every server here."""

    @classmethod
    def make(cls) -> PostgresServer:
        """A new one, which answers.  Blocking, for about a second."""
        folder = own_folder("twistpi-postgres-")
        made = unprivileged(
            program("initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "twistpi", "-E", "UTF8", "--no-sync", "--locale=C"
        )
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        return cls(folder, free_port()).start()

    def start(self) -> PostgresServer:
        """Start it, and return when it answers.  Blocking."""
        options = [word for setting in (*_SETTINGS, *self.settings) for word in ("-c", setting)]
        command = [program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), *options]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(unprivileged(*command), stdout=log, stderr=log, cwd=self.folder)
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "60"]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self.process.poll() is None, (self.folder / "log").read_text()
        return self

    def standby(self) -> PostgresServer:
        """A server that has whatever this one acknowledges from now on.  Blocking: about two seconds."""
        folder = own_folder("twistpi-standby-")
        words = (program("pg_basebackup"), "-D", str(folder / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d")
        subprocess.run(unprivileged(*words, self.url("postgres")), check=True, stdout=subprocess.DEVNULL, cwd=folder)
        standby = PostgresServer(folder, free_port()).start()
        self.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.run("SELECT pg_reload_conf()")
        return standby

    def end(self, how: int) -> None:
        """Send a signal, and return when it has ended: SIGINT is in order, SIGQUIT as if it crashed.  Blocking."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def remove(self) -> None:
        """End it, and remove what it kept."""
        self.end(3)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "twistpi") -> str:
        """The address of a database, as in settings."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the owner of everything; return its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """The address of a new, empty database."""
        name = f"test{next(_NUMBERS)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def new_schema(self) -> str:
        """The address of a new, empty schema, which is faster: a test that looks at nothing else cannot tell the difference."""
        name = f"test{next(_NUMBERS)}"
        self.run(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}?options=-csearch_path%3D{name}"


@functools.cache
def postgres() -> PostgresServer:
    """The server of this process, started when it is first needed."""
    server = PostgresServer.make()
    atexit.register(server.remove)
    return server
