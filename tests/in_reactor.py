"""pytest-twisted with types: how a test uses the real reactor."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from twistpi.http.offload import Offload

PATIENCE = 60.0
"""Seconds after which something will not happen in this process, however busy the machine is."""
offload = cast(Offload, deferToThread)
"""``deferToThread`` with the type that the product gives it."""
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


async def until(is_so: Callable[[], object]) -> None:
    """Return once ``is_so`` says something true, while the reactor runs; ``AssertionError`` when that does not come."""
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit, "it never came to be"
        await deferLater(reactor, 0.002)


def settle() -> Deferred[None]:
    """Let connections that are being closed go."""
    return deferLater(reactor, 0.02)
