"""The body of a test result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

from twistpi.blobs.received import Received, Receiving
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.web.paths import RequestRefused, segments_of

LARGEST_RESULT: Final = 16 * 1024 * 1024
"""Bytes of a test result, which is parsed as a whole, though not in the reactor's thread."""
_RESULT_SEGMENTS: Final = 6
"""Segments in the path of a file: user, index, ``+f``, two of its digest, and its name."""


class ResultReader:
    """Reads one test result, which is JSON that is kept as it is (a ``BodyReader``)."""

    def __init__(self, open_file: Callable[[], Receiving]) -> None:
        self._open_file = open_file
        self._file: Receiving | Received | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is something to close."""
        return self._file is not None

    def feed(self, data: bytes) -> None:
        """Write more of it. Raise ``TwistpiError``, ``StorageFull``."""
        if self._file is None:
            self._file = self._open_file()
        assert isinstance(self._file, Receiving)
        if self._file.size + len(data) > LARGEST_RESULT:
            raise TwistpiError(f"The body is larger than the {LARGEST_RESULT} bytes that are taken here.", 413)
        self._file.write(data)

    def finish(self) -> Received:
        """Return the file. Raise ``BadRequest`` if it is no JSON."""
        if not isinstance(self._file, Receiving):
            raise BadRequest("Bad request: could not decode json")
        self._file = received = self._file.finish()
        with received.open() as file:
            try:
                orjson.loads(file.read())
            except orjson.JSONDecodeError:
                raise BadRequest("Bad request: could not decode json") from None
        return received

    def close(self) -> None:
        """Delete the file unless it was kept."""
        if self._file is not None:
            self._file.close()


def is_result_path(raw_path: bytes) -> bool:
    """Return whether a POST to ``raw_path`` (as sent, without query) holds a test result: it is the path of a file."""
    if b"+" not in raw_path and b"%2" not in raw_path:
        return False
    try:
        segments = segments_of(raw_path.decode("latin-1"))
    except RequestRefused:
        return False
    if segments and not segments[-1]:
        segments.pop()
    return len(segments) >= _RESULT_SEGMENTS and segments[-4] == b"+f"
