"""``twistd -ny`` of this file: a server whose disk fails to sync once the file named by FAIL_WHEN is there."""

from __future__ import annotations

import errno
import os
from typing import Any

import attrs
from twisted.application.service import Application
from twisted.internet import reactor as _reactor

from twistpi.changelog.disk import AppendFile, Disk
from twistpi.server.service import TwistpiService
from twistpi.server.setting_sources import load_settings


@attrs.frozen
class _File(AppendFile):
    """A real file whose sync fails when the time has come."""

    _real: AppendFile

    def write(self, content: bytes) -> None:
        self._real.write(content)

    def truncate(self, size: int) -> None:
        self._real.truncate(size)

    def sync(self) -> None:
        if os.path.exists(os.environ["FAIL_WHEN"]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real.sync()

    def close(self) -> None:
        self._real.close()


class FailingDisk(Disk):
    """The real disk with such files."""

    def append_to(self, path: str) -> AppendFile:
        return _File(super().append_to(path))

    def create(self, path: str) -> AppendFile:
        return _File(super().create(path))


reactor: Any = _reactor
application = Application("twistpi")
TwistpiService(load_settings({}, os.environ), reactor, os.environ, disk=FailingDisk()).setServiceParent(application)
