"""A connection to the database of a cluster, which is made again when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, LiteralString

import attrs
import psycopg
from psycopg import conninfo, errors
from twisted.logger import Logger

from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import LogUnreachable

_DEFAULTS: Final = {
    "application_name": "twistpi",
    "connect_timeout": "5",
    "target_session_attrs": "read-write",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Parameters of a connection, unless the URL names them: a connection that hangs is given up after about ten seconds, and of
several hosts the one that takes writes is chosen."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to connect."""
_MOVED: Final = (errors.ReadOnlySqlTransaction, errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)
"""Errors of a server that was demoted or is shutting down: another one takes over, or the same one comes back."""
_log = Logger()

Row = tuple[Any, ...]
"""A row of a result; its types are those of the statement's columns."""

Arguments = Sequence[object] | Mapping[str, object]
"""What a statement is given, in order or by name."""


class ConnectionLost(Exception):
    """The connection was lost while a statement was under way: whether it was executed is unknown."""


@attrs.define(eq=False)
class Database:
    """One connection, for one statement at a time, in any thread.  Everything here is blocking.

    A statement is a transaction of its own, and nothing is kept in the session, so that a pool between (pgbouncer in transaction
    mode) may give each statement to another one.
    """

    _url: str = attrs.field(repr=False)
    patience: float = attrs.field(default=20.0, kw_only=True)
    """Seconds for which statements wait while the database is gone."""
    _seconds: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True)
    _pause: Callable[[float], object] = attrs.field(default=time.sleep, kw_only=True)
    _connection: psycopg.Connection[Row] | None = attrs.field(default=None, init=False)
    _lost_since: float | None = attrs.field(default=None, init=False)
    """Since when no connection could be made; None while there is one, or none was tried."""
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)

    @property
    def name(self) -> str:
        """The database as sentences name it: without user and password."""
        return database_name(self._url)

    def execute(self, statement: LiteralString, arguments: Arguments = ()) -> list[Row]:
        """Run one statement, and return its rows.

        Raise ``ConnectionLost``, ``LogUnreachable`` when no connection can be made within ``patience``, ``psycopg.Error``.
        """
        with self._lock:
            connection = self.connect()
            try:
                return connection.execute(statement, arguments).fetchall()
            except psycopg.Error as error:
                self._check(connection, error)
                raise

    def ask(self, statement: LiteralString, arguments: Arguments = ()) -> list[Row]:
        """The same for a statement that may be run twice: it is run again after the connection was lost.

        Raise ``LogUnreachable``, ``psycopg.Error``.
        """
        while True:
            try:
                return self.execute(statement, arguments)
            except ConnectionLost:
                continue

    def stream(self, statement: LiteralString, arguments: Arguments = ()) -> Generator[Row]:
        """The rows of a query one after the other, however many there are; raise what ``execute`` raises.

        The connection is taken until the iterator ends or is closed.
        """
        with self._lock:
            connection = self.connect()
            try:
                with connection.cursor() as cursor:
                    yield from cursor.stream(statement, arguments)
            except psycopg.Error as error:
                self._check(connection, error)
                raise

    def connect(self) -> psycopg.Connection[Row]:
        """The connection, tried again and again for ``patience`` after it was lost, but only once when that is over.

        Raise ``LogUnreachable``; ``TwistpiError`` for what does not go away by waiting.
        """
        pause = _FIRST_PAUSE
        while self._connection is None:
            try:
                self._connection = open_connection(self._url)
            except psycopg.OperationalError as error:
                check_worth_waiting(self._url, error)
                now = self._seconds()
                self._lost_since = now if self._lost_since is None else self._lost_since
                if now + pause > self._lost_since + self.patience:
                    raise LogUnreachable(self.name, first_line(error)) from None
                self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if self._lost_since is not None:
                    _log.info("The database at {name} is there again.", name=self.name)
                self._lost_since = None
        return self._connection

    def close(self) -> None:
        """Close the connection; a later statement makes a new one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _check(self, connection: psycopg.Connection[Row], error: psycopg.Error) -> None:
        """Raise ``ConnectionLost`` if ``error`` ended the connection, or means that another server takes over."""
        if not connection.closed and not isinstance(error, _MOVED):
            return
        _log.warn("The connection to the database at {name} was lost: {reason}", name=self.name, reason=first_line(error))
        self.close()
        raise ConnectionLost(first_line(error)) from error


def open_connection(url: str, *, autocommit: bool = True) -> psycopg.Connection[Row]:
    """A new connection to ``url``; raise ``psycopg.OperationalError``."""
    given = conninfo.conninfo_to_dict(url)
    defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
    whole = conninfo.make_conninfo(url, **defaults)
    return psycopg.connect(whole, autocommit=autocommit, prepare_threshold=None)


def check_url(url: str) -> str:
    """Return ``url`` as it is; raise ``ValueError`` when it is none of a PostgreSQL database."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(url)
    try:
        conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ValueError(str(error)) from None
    return url


def database_name(url: str) -> str:
    """Return what sentences call the database at ``url``: hosts and name, without user and password."""
    given = conninfo.conninfo_to_dict(url)
    hosts = str(given.get("host") or given.get("hostaddr") or "the local socket").split(",")
    ports = str(given.get("port") or "").split(",")
    places = [host if len(ports) <= at or not ports[at] else f"{host}:{ports[at]}" for at, host in enumerate(hosts)]
    return f"{','.join(places)}/{given.get('dbname') or given.get('user') or ''}"


_MENDED: Final = (
    (("password authentication failed", "no password supplied", "authentication failed"),
     "the user and its password are not accepted; correct them in --changelog"),
    (("does not exist",), "create it, or correct the name in --changelog"),
    (("no pg_hba.conf entry",), "let this machine in with a line in pg_hba.conf"),
    (("permission denied for database",), "grant the user CONNECT on it"),
    (("could not translate host name", "Name or service not known", "failed to resolve host"),
     "there is no host of that name; correct it in --changelog"),
    (("server does not support SSL", "certificate verify failed"), "correct sslmode and sslrootcert in --changelog"),
)  # fmt: skip
"""Failures that do not go away by waiting: words of the message, and what to do."""


def check_worth_waiting(url: str, error: psycopg.OperationalError) -> None:
    """Raise ``TwistpiError`` with what to do for an ``error`` of a connection that does not go away by itself."""
    remedy = remedy_for(error)
    if remedy is not None:
        raise TwistpiError(f"The database at {database_name(url)} cannot be used: {first_line(error)}; {remedy}.") from None


def remedy_for(error: psycopg.Error) -> str | None:
    """Return what to do about an ``error`` that does not go away by itself; None for one that may."""
    message = str(error)
    return next((remedy for words, remedy in _MENDED if any(word in message for word in words)), None)


def first_line(error: BaseException) -> str:
    """Return the beginning of a message of the database, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
