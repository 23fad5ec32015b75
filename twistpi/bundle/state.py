"""The state of an offline server: the small file that is carried to its primary, so that nobody copies numbers."""

from __future__ import annotations

from typing import Final

import attrs
import orjson

from twistpi.bundle.format import LogPoint, id_of, point_of
from twistpi.model.errors import TwistpiError

FORMAT: Final = 1
MOST_MISSING: Final = 10_000
"""Blobs that are listed; the next state lists others, once these came."""
_LONGEST: Final = 8 * 1024 * 1024


@attrs.frozen
class State:
    """What an offline server has."""

    log_id: str
    last: LogPoint
    missing: tuple[tuple[str, str], ...] = ()
    """Digits and file names of blobs that are named and not there."""

    def content(self) -> bytes:
        """Return the state as JSON."""
        return orjson.dumps({"format": FORMAT, **attrs.asdict(self)}, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def read_state(path: str) -> State:
    """Return the state in the file at ``path``; raise ``TwistpiError``, and ``OSError`` if it cannot be read."""
    with open(path, "rb") as file:
        content = file.read(_LONGEST)
    try:
        fields = orjson.loads(content)
        if fields["format"] != FORMAT:
            raise ValueError(f"it has the format {fields['format']}")
        missing = tuple((str(digits), str(filename)) for digits, filename in fields["missing"])
        return State(id_of(fields["log_id"]), point_of(fields["last"]), missing)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TwistpiError(f"{path} is not a file that twistpi bundle state wrote, or is damaged ({reason}).") from None
