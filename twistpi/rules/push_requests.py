"""What somebody asks to be pushed, and where to."""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.model.errors import InvalidIndexName, InvalidProjectName
from twistpi.model.names import IndexName, normalize_project
from twistpi.model.records import Json
from twistpi.model.upload_errors import InvalidPush
from twistpi.rules.bodies import shown

_WHAT: Final = ("name", "version")
_SELECTING: Final = ("no_docs", "only_docs")
_TARGET: Final = "targetindex"


@attrs.frozen
class Selection:
    """Which release to push, and which parts of it."""

    name: str
    """Of the project, as it was asked for."""
    version: str
    no_docs: bool = False
    """Leave the documentation out."""
    only_docs: bool = False
    """Leave everything else out."""

    @property
    def project(self) -> str:
        """The normalised name."""
        return normalize_project(self.name)


@attrs.frozen
class InternalPush:
    """To an index of this server."""

    selection: Selection
    target: str
    """``user/index``."""


@attrs.frozen
class ExternalPush:
    """To the upload address of another server."""

    selection: Selection
    url: str
    username: str
    password: str = attrs.field(repr=False)
    register_project: bool = False
    """Tell the other server of the project first."""


def read_push(body: Json) -> InternalPush | ExternalPush:
    """What the JSON ``body`` asks for; raises ``InvalidPush``."""
    if not isinstance(body, dict):
        raise InvalidPush("the body must be a JSON object")
    internal = _TARGET in body
    if internal:
        unknown = sorted(key for key in body if key not in (*_WHAT, *_SELECTING, _TARGET))
        if unknown:
            raise InvalidPush(f"unknown additional options: {shown(', '.join(unknown), quoted=False)}")
    selection = _selection(body)
    if internal:
        return InternalPush(selection, _index(body[_TARGET]))
    return ExternalPush(
        selection,
        _text(body, "posturl"),
        _text(body, "username", ""),
        _text(body, "password", ""),
        _flag(body, "register_project"),
    )


def _selection(body: dict[str, Json]) -> Selection:
    name, version = (_text(body, key) for key in _WHAT)
    try:
        normalize_project(name)
    except InvalidProjectName as error:
        raise InvalidPush(str(error)) from None
    no_docs, only_docs = (_flag(body, key) for key in _SELECTING)
    if no_docs and only_docs:
        raise InvalidPush("can't use 'no_docs' and 'only_docs' together")
    return Selection(name, version, no_docs, only_docs)


def _index(value: Json) -> str:
    try:
        if not isinstance(value, str):
            raise InvalidIndexName(shown(value))
        return str(IndexName.parse(value.strip("/")))
    except InvalidIndexName:
        raise InvalidPush("targetindex not in format user/index") from None


def _text(body: dict[str, Json], key: str, default: str | None = None) -> str:
    value = body.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (not value and default is None):
        raise InvalidPush(f"{key} must be given as text")
    return value


def _flag(body: dict[str, Json], key: str) -> bool:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidPush(f"{key} must be true or false")
    return bool(value)
