"""Descriptions of releases as HTML that is safe to show; what was made is kept.

A process of its own makes them, see ``description_renderer``.  What takes it too long is shown as plain text.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final

import attrs
import orjson
from markupsafe import Markup
from twisted.logger import Logger

_COMMAND: Final = (sys.executable, "-P", "-m", "twistpi.web.browser.description_renderer")
_PATIENCE: Final = 3.0
"""Seconds for one description, and for waiting until another one is done or the process has started."""
_LONGEST_TEXT: Final = 40_000
"""Characters of a description that is shown as text; escaped they are five times as many."""
_MOST_KEPT: Final = 8 * 1024 * 1024
"""Characters of all descriptions that are kept."""
_LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes."""

_log = Logger()

Render = Callable[[str, str], tuple[str | None, bool]]
"""Takes a description and its content type; returns HTML, or None for what is text only, and whether its end was cut off.  Raises
``BlockingIOError`` when others have to be waited for, ``OSError`` or ``EOFError`` when it is impossible."""


@attrs.frozen
class Description:
    """A description as a page shows it."""

    html: Markup | None
    """What ``description_renderer`` made and cleaned; None when it is shown as text."""
    text: str
    """The text, where there is no HTML."""
    is_cut: bool
    """Whether the end is missing, because it is too long."""


@attrs.define(eq=False)
class RendererProcess:
    """Has another process render; starts it when it is needed.  In any thread that may wait."""

    _patience: float = _PATIENCE
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)
    _connection: Connection | None = attrs.field(default=None, init=False)
    _is_ready: bool = attrs.field(default=False, init=False)
    """Whether the process has started; it says so."""

    def __call__(self, text: str, content_type: str) -> tuple[str | None, bool]:
        """See ``Render``."""
        if not self._lock.acquire(timeout=self._patience):
            raise BlockingIOError("another description takes too long")
        try:
            return self._ask(orjson.dumps([text, content_type]))
        except BlockingIOError:  # it goes on starting
            raise
        except (OSError, EOFError):
            self.close()
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ask(self, question: bytes) -> tuple[str | None, bool]:
        if self._process is not None and self._process.poll() is not None:  # it ends by itself when it has nothing to do
            self.close()
        connection = self._connection or self._start()
        if not self._is_ready:
            if not connection.poll(self._patience):
                raise BlockingIOError("the process that renders descriptions is starting")
            connection.recv_bytes()
            self._is_ready = True
        connection.send_bytes(question)
        html, is_cut = orjson.loads(_received(connection, self._patience))
        return html, is_cut

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            self._connection = connection = Connection(ours.detach())
            self._process = subprocess.Popen(
                _COMMAND, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        self._is_ready = False
        return connection


def _received(connection: Connection, patience: float) -> bytes:
    if not connection.poll(patience):
        raise TimeoutError("the description takes too long")
    return connection.recv_bytes(_LARGEST_ANSWER)


@attrs.define(eq=False)
class Descriptions:
    """Descriptions in the form that pages show.  In any thread that may wait."""

    _render: Render
    _kept: OrderedDict[bytes, Description] = attrs.field(factory=OrderedDict, init=False)
    """By digest of content type and text; those that were used last are last."""
    _size: int = attrs.field(default=0, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def shown(self, text: str, content_type: str) -> Description | None:
        """Return the description ``text``; None when there is none."""
        if not text.strip() or text.strip() == "UNKNOWN":
            return None
        text = text.encode("utf-8", "replace").decode()
        key = hashlib.sha256(f"{content_type}\0{text}".encode()).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        try:
            html, is_cut = self._render(text, content_type)
        except BlockingIOError:  # nothing is known of this one
            return _as_text(text)
        except (OSError, EOFError) as error:
            _log.info("A description is shown as text: {error!r}", error=error)
            html, is_cut = None, False
        description = _as_text(text) if html is None else Description(Markup(html), "", is_cut)
        self._keep(key, description)
        return description

    def _keep(self, key: bytes, description: Description) -> None:
        with self._lock:
            self._size -= _size(self._kept.pop(key, None))
            self._kept[key] = description
            self._size += _size(description)
            while self._size > _MOST_KEPT:
                _key, oldest = self._kept.popitem(last=False)
                self._size -= _size(oldest)


def _as_text(text: str) -> Description:
    part = text[:_LONGEST_TEXT]
    return Description(None, part, len(part) < len(text))


def _size(description: Description | None) -> int:
    return 0 if description is None else len(description.html or "") + len(description.text)
