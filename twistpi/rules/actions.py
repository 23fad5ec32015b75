"""Which changes a reader of an index may make, so that pages offer these and no others."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from twistpi.model.records import Index, Principal
from twistpi.rules.permissions import Action, Policy, is_allowed


@attrs.frozen
class Actions:
    """What may be done to an index and to what is in it."""

    configure: bool = False
    """Change the settings of the index."""
    delete: bool = False
    """Delete the index."""
    remove: bool = False
    """Remove projects, releases and files; of a mirror, what is stored, which is fetched again."""
    mark: bool = False
    """Yank, and give projects a status."""
    quarantine: bool = False
    """Give projects the status ``quarantined``, and take it from them."""
    push: bool = False
    """Push a release to other indexes; ``push_targets`` returns which."""
    refresh: bool = False
    """Ask the upstream for a project at once."""


def actions_on(index: Index, principal: Principal, policy: Policy) -> Actions:
    """Return what ``principal``, who may read ``index``, may do to it: nothing without a login.

    Whether ``push`` makes sense depends on other indexes, so it is left out.
    """
    if principal.user is None:
        return Actions()
    configure, delete, remove = (
        is_allowed(action, principal, policy, index=index) for action in (Action.MODIFY_INDEX, Action.DELETE_INDEX, Action.REMOVE)
    )
    is_own = not index.is_mirror
    return Actions(configure, delete, remove, remove and is_own, configure and is_own, refresh=index.is_mirror)


def push_targets(indexes: Iterable[Index], source: str, project: str, principal: Principal, policy: Policy) -> list[str]:
    """Return those of ``indexes`` to which ``principal`` may push ``project`` (normalised) from the index ``source``."""
    return [
        index.name
        for index in indexes
        if index.name != source and is_allowed(Action.UPLOAD, principal, policy, index=index, project=project)
    ]
