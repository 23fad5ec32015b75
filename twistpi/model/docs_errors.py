"""The refusals that have to do with documentation; see ``model/errors.py`` for how they read."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class NoDocs(TwistpiError):
    """No documentation available."""

    status = 404


@attrs.define(auto_exc=True, str=False)
class NoStableDocs(NoDocs):
    """No stable documentation available."""


@attrs.define(auto_exc=True, str=False)
class NoDocsFile(TwistpiError):
    """File {path} not found in documentation."""

    status = 404
    path: str


@attrs.define(auto_exc=True, str=False)
class DocsUnreadable(TwistpiError):
    """The documentation of {project} {version} cannot be shown: {reason}."""

    status = 404
    project: str
    version: str
    reason: str
