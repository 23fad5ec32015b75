"""``followers.json``: where the servers that follow this one can be asked.

One of them may have been promoted while this server was away, so it asks them before it takes writes again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
import orjson
from twisted.logger import Logger

_NAME = "followers.json"
_MOST = 100
"""Followers that are remembered; the one that came longest ago is forgotten first."""

_log = Logger()


@attrs.define(eq=False)
class KnownFollowers:
    """The file, and what it says."""

    _path: str
    _urls: dict[str, str]
    """By node id; the one that came last is last."""

    @classmethod
    def open(cls, serverdir: str) -> KnownFollowers:
        """What is known in ``serverdir``; nothing when the file is missing or cannot be understood."""
        path = os.path.join(serverdir, _NAME)
        try:
            with open(path, "rb") as file:
                fields: Any = orjson.loads(file.read())
        except (OSError, orjson.JSONDecodeError):
            fields = {}
        known = fields.items() if isinstance(fields, dict) else ()
        return cls(path, {node: url for node, url in known if isinstance(url, str)})

    @property
    def urls(self) -> Mapping[str, str]:
        """Where each follower answers, by its node id."""
        return dict(self._urls)

    def came(self, node_id: str, url: str | None) -> None:
        """Note that a follower asked for the log, and where it says that it answers; None when it does not say."""
        if url is None or self._urls.get(node_id) == url:
            return
        self._urls.pop(node_id, None)
        self._urls[node_id] = url
        while len(self._urls) > _MOST:
            del self._urls[next(iter(self._urls))]
        try:
            with open(f"{self._path}.new", "wb") as file:
                file.write(orjson.dumps(self._urls, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            os.replace(f"{self._path}.new", self._path)
        except OSError as error:
            _log.warn("The follower at {url} will not be remembered: {reason}", url=url, reason=str(error))
