"""Fixtures of the tests of advisories: a server whose parts are real, with a feed on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from tests.advisories.advisory_feed import FeedSetup
from tests.in_reactor import wait_for
from tests.mirror.conftest import fake, make_setup, setup
from tests.mirror.mirror_setup import Setup

__all__ = ["fake", "feed", "make_setup", "setup"]


@pytest.fixture
def feed(setup: Setup) -> Iterator[FeedSetup]:
    made = FeedSetup.make(setup)
    yield made
    wait_for(Deferred.fromCoroutine(made.stop()))
