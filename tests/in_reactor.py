"""pytest-twisted with types: how a test uses the real reactor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_reactor(test: Callable[_Arguments, Coroutine[Deferred[Any], Any, None]]) -> Callable[_Arguments, None]:
    """Let ``test``, an ``async def``, await Deferreds while the reactor runs."""
    marked: Callable[_Arguments, None] = pytest_twisted.ensureDeferred(test)
    return marked


def wait_for(deferred: Deferred[_Result]) -> _Result:
    """Run the reactor until ``deferred`` fires; for fixtures that are no coroutines."""
    result: _Result = pytest_twisted.blockon(deferred)
    return result
