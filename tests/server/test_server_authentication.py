"""Authentication in a running server: its secret, its threads, and what it says of root at every start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.in_reactor import in_reactor
from twistpi.auth.tokens import is_valid_for
from twistpi.changelog.disk import Disk
from twistpi.model.changes import UserModified
from twistpi.model.codec import encode_content
from twistpi.model.errors import LoginFailed, TwistpiError
from twistpi.server.authentication import Authentication, login_tokens
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Readers

reactor: Any = the_reactor
AFAR = "192.0.2.7"


def _now() -> datetime:
    return datetime(2026, 11, 22, tzinfo=UTC)


def _settings(path: Path, **more: Any) -> Settings:
    return Settings(serverdir=str(path), no_root_pypi=True, bcrypt_cost=4, **more)


@attrs.define
class Setup:
    """A server directory, and the authentication made from it."""

    storage: Storage
    readers: Readers
    authentication: Authentication

    @classmethod
    def open(cls, settings: Settings) -> Setup:
        storage = Storage.open(settings, _now, Disk())
        readers = Readers(storage.serverdir.layout.view)
        offload = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        setup = cls(storage, readers, Authentication.build(settings, readers, reactor, offload))
        setup.authentication.start()
        return setup

    async def close(self) -> None:
        await self.authentication.stop()
        self.readers.close()
        self.storage.close()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        if event["log_level"].name == "warn":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


@in_reactor
async def test_the_reactor_goes_on_while_passwords_are_looked_at_in_threads_of_their_own(tmp_path: Path) -> None:
    setup = Setup.open(attrs.evolve(_settings(tmp_path, root_passwd="secret"), bcrypt_cost=11))
    turns: list[int] = []
    counting = LoopingCall(turns.append, 1)
    counting.start(0.001)
    authenticator = setup.authentication.authenticator
    logins = [Deferred.fromCoroutine(authenticator.login("root", "secret", AFAR, local=False)) for _ in range(100)]
    names = {thread.name for thread in threading.enumerate()}
    results = await gatherResults(logins)
    counting.stop()
    assert [seconds for _token, seconds in results] == [36000] * 100
    assert len(turns) > 5
    assert any("twistpi passwords" in name for name in names)
    await setup.close()
    assert not any("twistpi passwords" in thread.name for thread in threading.enumerate())


@in_reactor
async def test_every_start_warns_while_the_password_of_root_is_blank(tmp_path: Path, warnings: list[str]) -> None:
    for _ in range(2):
        warnings.clear()
        await Setup.open(_settings(tmp_path)).close()
        assert len(warnings) == 1
        assert "root has a blank password" in warnings[0]
        assert "from this machine only" in warnings[0]
        assert f"twistpi passwd root --serverdir {tmp_path}" in warnings[0]


@in_reactor
async def test_no_start_warns_once_root_has_one(tmp_path: Path, warnings: list[str]) -> None:
    await Setup.open(_settings(tmp_path, root_passwd="secret")).close()
    await Setup.open(_settings(tmp_path)).close()
    assert warnings == []


@in_reactor
async def test_logins_survive_a_restart_and_not_a_new_secret(tmp_path: Path) -> None:
    settings = _settings(tmp_path, root_passwd="secret", login_hours=0.5)
    setup = Setup.open(settings)
    token, seconds = await setup.authentication.authenticator.login("root", "secret", AFAR, local=False)
    root = setup.readers.get().user("root")
    await setup.close()
    assert seconds == 1800
    claim = login_tokens(settings).read(token, reactor.seconds())
    assert claim is not None
    assert is_valid_for(claim, root)
    (tmp_path / "secret").write_bytes(bytes(range(40)))
    assert login_tokens(settings).read(token, reactor.seconds()) is None


@in_reactor
async def test_a_password_set_by_another_program_counts_at_the_next_start(tmp_path: Path) -> None:
    setup = Setup.open(_settings(tmp_path, root_passwd="secret"))
    kept = await setup.authentication.authenticator.hash_password("new")
    body = encode_content("2026-11-22T00:00:00.000000Z", "root", [UserModified("root", password_hash=kept)])
    setup.storage.changelog.append([body], expect=setup.storage.changelog.last.serial)
    await setup.close()
    setup = Setup.open(_settings(tmp_path))
    with pytest.raises(LoginFailed):
        await setup.authentication.authenticator.login("root", "secret", AFAR, local=False)
    assert await setup.authentication.authenticator.login("root", "new", AFAR, local=False)
    await setup.close()


def test_a_server_whose_secret_is_not_fit_is_not_built(tmp_path: Path) -> None:
    Storage.open(_settings(tmp_path), _now, Disk()).close()
    (tmp_path / "secret").chmod(0o644)
    for settings in (_settings(tmp_path), _settings(tmp_path, secretfile=str(tmp_path / "missing"))):
        with pytest.raises(TwistpiError):
            login_tokens(settings)
