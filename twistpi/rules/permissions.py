"""Permissions: which principal may do which action.

Access lists contain user names, ``:group`` for the groups of a login, ``:ANONYMOUS:`` for everybody and ``:AUTHENTICATED:`` for
every login.  An API token narrows what its user may do to reading and uploading; what is open to everybody stays open with one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from twistpi.model.errors import PermissionDenied, login_needed
from twistpi.model.records import ANY_USER, ANYBODY, ROOT, Index, Principal

MAY_READ: Final = "read"
"""In ``ApiToken.may``: pages, files and JSON."""
MAY_UPLOAD: Final = "upload"
"""In ``ApiToken.may``: releases."""


class Action(enum.Enum):
    """An action; the value is its name in messages."""

    CREATE_USER = "create user"
    MODIFY_USER = "modify user"
    CHANGE_PASSWORD = "change password for user"
    DELETE_USER = "delete user"
    CREATE_INDEX = "create index"
    MODIFY_INDEX = "modify index"
    DELETE_INDEX = "delete index"
    READ = "read index"
    UPLOAD = "submit"
    UPLOAD_TOXRESULT = "upload test results to"
    REMOVE = "remove anything from"
    MANAGE_TOKENS = "manage API tokens of user"
    ADMINISTER = "administer"


@attrs.frozen
class Policy:
    """The restrictions that an administrator sets."""

    restrict_modify: tuple[str, ...] | None = None
    """The only principals that create, modify and delete users and indexes; None: root and owners may, and everybody may create
    users."""

    @classmethod
    def parse(cls, restrict_modify: str | None) -> Policy:
        """Parse a comma-separated list of users and ``:groups``; None restricts nobody, an empty list everybody."""
        if restrict_modify is None:
            return cls()
        return cls(tuple(name for part in restrict_modify.split(",") if (name := part.strip())))


def is_open(index: Index) -> bool:
    """Whether everybody may read ``index``: it has no ``acl_read``, or one with ``:ANONYMOUS:``."""
    readers = index.config.get("acl_read")
    return readers is None or ANYBODY in readers


def may_read(principal: Principal, index: Index) -> bool:
    """Whether ``principal`` may read ``index``: everybody may, or those in ``acl_read``, the owner and root."""
    if is_open(index):
        return True
    if not _token_allows(MAY_READ, principal, index, None):
        return False
    return principal.user in (ROOT, _owner(index)) or _is_among(principal, index.config["acl_read"])


def is_allowed(
    action: Action,
    principal: Principal,
    policy: Policy,
    *,
    user: str | None = None,
    index: Index | None = None,
    project: str | None = None,
) -> bool:
    """Whether ``principal`` may do ``action``.

    ``user`` is the user it is done to, or for whom an index is created; ``index`` is the index it is done to, None for one that
    does not exist, to which nobody may do anything; ``project`` is the normalised name of what is uploaded.
    """
    if action is Action.READ:
        return index is not None and may_read(principal, index)
    if action is Action.UPLOAD:
        return index is not None and _may_upload(principal, index) and _token_allows(MAY_UPLOAD, principal, index, project)
    if principal.token is not None:
        return False
    if action in _ABOUT_INDEXES:
        return index is not None and _may_with_index(action, principal, policy, index)
    if action is Action.CREATE_USER:
        return policy.restrict_modify is None or _is_among(principal, policy.restrict_modify)
    owner = _owner(index) if user is None and index is not None else user
    return owner is not None and _may_with_user(action, principal, policy, owner)


def check(
    action: Action,
    principal: Principal,
    policy: Policy,
    *,
    user: str | None = None,
    index: Index | None = None,
    project: str | None = None,
    subject: str | None = None,
) -> None:
    """Raise ``LoginNeeded`` for reading and uploading without a login, else ``PermissionDenied``, when ``is_allowed`` is false.

    ``subject`` is what the message names, by default the index or else the user.
    """
    if is_allowed(action, principal, policy, user=user, index=index, project=project):
        return
    name = subject or (user or "" if index is None else index.name)
    if principal.user is None and action in (Action.READ, Action.UPLOAD):
        raise login_needed("read" if action is Action.READ else "upload", name)
    raise PermissionDenied(action.value if action is Action.UPLOAD else f"{action.value} {name}".rstrip())


_ABOUT_INDEXES: Final = frozenset({Action.MODIFY_INDEX, Action.DELETE_INDEX, Action.UPLOAD_TOXRESULT, Action.REMOVE})
_BY_ONESELF: Final = frozenset({Action.CHANGE_PASSWORD, Action.MANAGE_TOKENS, Action.ADMINISTER})
"""What users may do to themselves whatever is restricted; to administer the server is an action on root."""


def _may_with_index(action: Action, principal: Principal, policy: Policy, index: Index) -> bool:
    if action is Action.UPLOAD_TOXRESULT:
        return index.is_mirror or _is_among(principal, index.config.get("acl_toxresult_upload", (ANYBODY,)))
    if action is Action.REMOVE and _may_upload(principal, index):
        return True
    if policy.restrict_modify is not None:
        return _is_among(principal, policy.restrict_modify)
    return principal.user in (ROOT, _owner(index))


def _may_with_user(action: Action, principal: Principal, policy: Policy, user: str) -> bool:
    """Whether an action on a user is allowed; creating an index is an action on its owner."""
    if action is Action.DELETE_USER and user == ROOT:
        return False
    if policy.restrict_modify is None:
        return principal.user in (ROOT, user)
    if principal.user == user and action in _BY_ONESELF:
        return True
    # An administrator of users must not be able to delete the last one, which may be itself.
    if principal.user == user and action is Action.DELETE_USER:
        return False
    return _is_among(principal, policy.restrict_modify)


def _may_upload(principal: Principal, index: Index) -> bool:
    """Whether ``principal`` is in ``acl_upload``: root and the owner have to be, too.  Nobody may upload to a mirror."""
    return not index.is_mirror and _is_among(principal, index.config.get("acl_upload", ()))


def _token_allows(what: str, principal: Principal, index: Index, project: str | None) -> bool:
    """Whether the principal's API token, if there is one, allows this."""
    token = principal.token
    if token is None:
        return True
    is_project_fine = what != MAY_UPLOAD or token.project in (None, project)
    return what in token.may and token.index in (None, index.name) and is_project_fine


def _is_among(principal: Principal, principals: Iterable[str]) -> bool:
    named = frozenset(principals)
    if ANYBODY in named:
        return True
    if principal.user is None:
        return False
    return ANY_USER in named or principal.user in named or any(f":{group}" in named for group in principal.groups)


def _owner(index: Index) -> str:
    return index.name.partition("/")[0]
