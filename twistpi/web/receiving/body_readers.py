"""What reads a body while it comes: forms with files, and test results, which are JSON that is kept as it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import orjson

from twistpi.blobs.received import Received, Receiving
from twistpi.model.account_errors import BadRequest, BodyTooLarge
from twistpi.web.paths import RequestRefused, segments_of
from twistpi.web.receiving.forms import Form, form_reader, is_multipart

LARGEST_RESULT: Final = 16 * 1024 * 1024
"""Bytes of a test result; it is looked at as a whole, though not by the reactor."""
_SEGMENTS: Final = 6
"""Parts of the path of a file: user, index, ``+f``, two of digits, and its name."""


class BodyReader(Protocol):
    """Reads one body, in threads."""

    @property
    def is_open(self) -> bool:
        """Whether something is to be closed."""

    def feed(self, data: bytes) -> None:
        """More of the body.  Raises what is wrong with it."""

    def finish(self) -> Form | Received:
        """The whole body was fed: what it is.  Raises as ``feed`` does."""

    def close(self) -> None:
        """Forget the file, unless it was kept.  May be called again."""


def reader_for(raw_path: bytes, content_type: str, open_file: Callable[[], Receiving]) -> Callable[[], BodyReader] | None:
    """What makes the reader of a body that is posted to ``raw_path`` (as it came, without query); None when none is needed.

    ``open_file`` makes the sink for a file.
    """
    if is_result_path(raw_path):
        return lambda: ResultReader(open_file)
    if is_multipart(content_type):
        return lambda: form_reader(content_type, open_file)
    return None


def is_result_path(raw_path: bytes) -> bool:
    """Whether what is posted to ``raw_path``, as it came and without query, is a test result: it is the path of a file."""
    if b"+" not in raw_path and b"%2" not in raw_path:
        return False
    try:
        segments = segments_of(raw_path.decode("latin-1"))
    except RequestRefused:
        return False
    if segments and not segments[-1]:
        segments.pop()
    return len(segments) >= _SEGMENTS and segments[-4] == b"+f"


class ResultReader:
    """Reads one test result; see ``form_body.BodyReader``."""

    def __init__(self, open_file: Callable[[], Receiving]) -> None:
        self._open_file = open_file
        self._receiving: Receiving | None = None
        self._received: Received | None = None

    @property
    def is_open(self) -> bool:
        """See ``BodyReader``."""
        return self._receiving is not None or self._received is not None

    def feed(self, data: bytes) -> None:
        """See ``BodyReader``; raises ``BodyTooLarge``, ``StorageFull``."""
        if self._receiving is None:
            self._receiving = self._open_file()
        if self._receiving.size + len(data) > LARGEST_RESULT:
            raise BodyTooLarge(LARGEST_RESULT)
        self._receiving.write(data)

    def finish(self) -> Received:
        """See ``BodyReader``; raises ``BadRequest`` for what is no JSON."""
        if self._receiving is None:
            raise BadRequest("could not decode json")
        self._received = received = self._receiving.finish()
        with received.open() as file:
            try:
                orjson.loads(file.read())
            except orjson.JSONDecodeError:
                raise BadRequest("could not decode json") from None
        return received

    def close(self) -> None:
        """See ``BodyReader``."""
        for one in (self._receiving, self._received):
            if one is not None:
                one.close()
