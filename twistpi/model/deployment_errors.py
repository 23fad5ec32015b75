"""The refusals that have to do with files for other programs; see ``model/errors.py`` for how they read."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class FilesInTheWay(TwistpiError):
    """{directory} has {files} already, and nothing was written: name another --directory, or overwrite them with --force."""

    status = 409
    directory: str
    files: str


@attrs.define(auto_exc=True, str=False)
class CannotBeWritten(TwistpiError):
    """No configuration can be written for {what} {value!r}: {reason}."""

    status = 400
    what: str
    value: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class NoTwistd(TwistpiError):
    """There is no twistd beside {python}: install twistpi into the environment that will run it, and run its own twistpi."""

    python: str


@attrs.define(auto_exc=True, str=False)
class DirectoryRefused(TwistpiError):
    """Nothing can be written to {directory}: {reason}."""

    directory: str
    reason: str
