"""Fixtures of the tests of pushes: endpoints on loopback, stopped when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.defer import Deferred

from tests.in_reactor import wait_for
from tests.push.fake_repository import FakeRepository, Saying


@pytest.fixture
def repository() -> Iterator[Callable[..., FakeRepository]]:
    """Starts endpoints that say what they are told."""
    running: list[FakeRepository] = []

    def start(*says: Saying, context: object = None) -> FakeRepository:
        running.append(FakeRepository(*says).start(context))
        return running[-1]

    yield start
    for one in running:
        wait_for(Deferred.fromCoroutine(one.stop()))
