"""What was asked of a server from outside, and what came: values, for the commands that judge servers.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import orjson

from twistpi.model.records import Json

SILENT: Final = "nothing came in time"
"""The failure of a question that nobody answered, though the connection stood."""
UNTRUSTED: Final = "its certificate is not accepted"
"""How the failure begins of a question that was not asked for that reason."""


@attrs.frozen
class Question:
    """One request."""

    url: str
    """Absolute, without credentials."""
    method: str = "GET"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    most: int = 1 << 16
    """Bytes of the answer's body to read; of a longer one the rest is never fetched."""
    as_nobody: bool = False
    """Whether to leave the credentials out that there are."""


@attrs.frozen
class Exchange:
    """A question, and what came of it."""

    question: Question
    status: int = 0
    """0 when no answer came."""
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """As they came; a name may come several times."""
    body: bytes = b""
    is_whole: bool = True
    """Whether ``body`` is everything."""
    kept_open: bool = True
    """Whether the server lets the connection be used again."""
    failure: str = ""
    """Why no answer came."""

    def header(self, name: str) -> str:
        """The value of a header, several joined by commas; empty when it did not come."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def content_type(self) -> str:
        """The type without its parameters, in lower case."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    @property
    def json(self) -> dict[str, Json]:
        """The body as a JSON object; empty when it is none."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def is_untrusted(self) -> bool:
        """Whether it was not asked, because of the other side's certificate."""
        return self.failure.startswith(UNTRUSTED)

    @property
    def told(self) -> str:
        """The status, or why there is none, for a sentence."""
        return f"{self.status} {self.reason}".strip() if self.status else f"no answer ({self.failure})"
