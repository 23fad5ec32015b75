"""Who may do what: one table, asked with everything it depends on.

Principals are user names, ``:group`` for the groups of a login, ``:ANONYMOUS:`` for everybody and ``:AUTHENTICATED:`` for every
login.  An API token narrows what its user may do to reading and uploading; nothing that is open to everybody is closed to who
shows one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from twistpi.model.account_errors import Forbidden, LoginNeeded
from twistpi.model.accounts import ANY_USER, ANYBODY, ROOT, Principal
from twistpi.model.records import Index

MAY_READ: Final = "read"
"""In ``ApiToken.may``: pages, files and JSON."""
MAY_UPLOAD: Final = "upload"
"""In ``ApiToken.may``: releases."""


class Action(enum.Enum):
    """What somebody may want to do; the value is how a refusal calls it."""

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
    """What an administrator restricts."""

    restrict_modify: tuple[str, ...] | None = None
    """The principals who alone create, modify and delete users and indexes; None: root and owners may, and everybody may create
    users."""

    @classmethod
    def parse(cls, restrict_modify: str | None) -> Policy:
        """The policy of a comma-separated list of users and ``:groups``; None restricts nothing, an empty list everybody."""
        if restrict_modify is None:
            return cls()
        return cls(tuple(name for part in restrict_modify.split(",") if (name := part.strip())))


def is_open(index: Index) -> bool:
    """Whether everybody may read ``index``: it has no ``acl_read``, or one that says so."""
    readers = index.config.get("acl_read")
    return readers is None or ANYBODY in readers


def may_read(principal: Principal, index: Index) -> bool:
    """Whether ``asker`` may see pages, files and JSON of ``index``: all may, or its ``acl_read``, its owner and root."""
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
    """Whether ``asker`` may do ``action``.

    ``user`` is the user it is done to, or for whom an index is created; ``index`` the index it is done to, None for one that does
    not exist, to which nobody may do anything.  ``project`` is the normalised name of what is uploaded.
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
    """Refuse what ``is_allowed`` does not allow.

    ``subject`` is what a refusal names, by default the index or else the user.  Raises ``LoginNeeded`` when somebody without a
    login wants to read or upload, ``Forbidden`` for all else.
    """
    if is_allowed(action, principal, policy, user=user, index=index, project=project):
        return
    name = subject or (user or "" if index is None else index.name)
    if principal.user is None and action in (Action.READ, Action.UPLOAD):
        raise LoginNeeded("read" if action is Action.READ else "upload", name)
    raise Forbidden(action.value if action is Action.UPLOAD else f"{action.value} {name}".rstrip())


_ABOUT_INDEXES: Final = frozenset({Action.MODIFY_INDEX, Action.DELETE_INDEX, Action.UPLOAD_TOXRESULT, Action.REMOVE})
_BY_ONESELF: Final = frozenset({Action.CHANGE_PASSWORD, Action.MANAGE_TOKENS, Action.ADMINISTER})
"""What users may do to themselves whatever is restricted; to administer the server is something that is done to root."""


def _may_with_index(action: Action, principal: Principal, policy: Policy, index: Index) -> bool:
    if action is Action.UPLOAD_TOXRESULT:
        return index.is_mirror or _is_among(principal, index.config.get("acl_toxresult_upload", (ANYBODY,)))
    if action is Action.REMOVE and _may_upload(principal, index):
        return True
    if policy.restrict_modify is not None:
        return _is_among(principal, policy.restrict_modify)
    return principal.user in (ROOT, _owner(index))


def _may_with_user(action: Action, principal: Principal, policy: Policy, user: str) -> bool:
    """What is done to a user, and creating an index, which is done to its owner."""
    if action is Action.DELETE_USER and user == ROOT:
        return False
    if policy.restrict_modify is None:
        return principal.user in (ROOT, user)
    if principal.user == user and action in _BY_ONESELF:
        return True
    # Who may administer users must not be able to lock the last administrator out by deleting oneself.
    if principal.user == user and action is Action.DELETE_USER:
        return False
    return _is_among(principal, policy.restrict_modify)


def _may_upload(principal: Principal, index: Index) -> bool:
    """Only who stands in ``acl_upload``: not even root or the owner otherwise, and nobody to a mirror."""
    return not index.is_mirror and _is_among(principal, index.config.get("acl_upload", ()))


def _token_allows(what: str, principal: Principal, index: Index, project: str | None) -> bool:
    """Whether ``asker``'s API token, if any, is good for this."""
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
