"""Authentication: which credentials count, what checking them costs, and how guessing is slowed; no test waits."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Coroutine, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel
from zope.interface import implementer

from twistpi.auth.passwords import BLANK, hash_password, is_password_hash, verify_password
from twistpi.auth.tokens import LoginTokens
from twistpi.model.changes import Change, Entry, LogStarted, TokenCreated, TokenRevoked, UserCreated, UserDeleted, UserModified
from twistpi.model.errors import LoginFailed, TwistpiError
from twistpi.model.peers import Position
from twistpi.model.records import NOBODY, Principal, User
from twistpi.model.server_errors import StorageFull
from twistpi.rules.accounts import decide_hash_replaced
from twistpi.view.database import open_view
from twistpi.view.read import Readers
from twistpi.web.addresses import Addresses
from twistpi.web.authentication import Authenticator, Credentials, PasswordQueue, credentials_of

NOW = 1_795_000_000.25
COST = 4
AFAR = IPv4Address("TCP", "192.0.2.7", 50000)
HERE = IPv4Address("TCP", "127.0.0.1", 50000)
ELSEWHERE = IPv4Address("TCP", "192.0.2.8", 50000)
PASSWORD = "verysecurepassword"
LOCAL = [HERE, IPv4Address("TCP", "127.8.9.10", 1), IPv6Address("TCP", "::1", 1), UNIXAddress(None)]


@attrs.define(eq=False)
class Threads:
    """Threads that work when a test lets them; without ``hold`` at once."""

    hold: bool = False
    calls: list[tuple[Any, ...]] = attrs.field(factory=list)
    waiting: list[Callable[[], None]] = attrs.field(factory=list)

    def run(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.calls.append((work, *arguments))
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: done.callback(work(*arguments)))
        if not self.hold:
            self.let_one_work()
        return done

    def let_one_work(self) -> None:
        self.waiting.pop(0)()

    def verified(self) -> int:
        """How many bcrypts it took to look at passwords."""
        return sum(1 for work, *_arguments in self.calls if work is verify_password)


class Setup:
    """Users in a view, and what authenticates them."""

    def __init__(self, folder: str, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.view = open_view(os.path.join(folder, "view.sqlite"), "1" * 32)
        self.readers = Readers(os.path.join(folder, "view.sqlite"))
        self.threads = Threads()
        run: Any = self.threads.run
        line = PasswordQueue(run, **settings.pop("line", {}))
        tokens = LoginTokens(b"s" * 32, 36000)
        self.authenticator = Authenticator(self.readers, tokens, line, self.clock, os.urandom, COST, **settings)
        self.commit(
            LogStarted("1" * 32), UserCreated("root"), UserCreated("alice", password_hash=hash_password(PASSWORD, COST)),
            UserCreated("bob", password_hash=hash_password("bobs", COST)), UserCreated("carol", password_hash=None),
        )  # fmt: skip

    def close(self) -> None:
        self.readers.close()
        self.view.close()

    def commit(self, *changes: Change) -> None:
        serial = self.view.position.serial + 1
        self.view.begin()
        self.view.apply(Entry(serial, "2026-11-22T17:00:00.000000Z", "root", changes))
        self.view.commit(Position(serial, f"{serial:064x}", 1, serial))

    def user(self, name: str) -> User:
        found = self.readers.get().user(name)
        assert found is not None
        return found

    def asks(self, request: Request) -> Outcome:
        return Outcome.of(self.authenticator.principal(request))

    def principal(self, user: str, secret: str, peer: Any = AFAR) -> Principal:
        """Return the principal with these credentials, where that takes no time."""
        found: Principal = self.asks(basic(user, secret, peer)).now()
        return found

    def logs_in(self, user: str, password: str, address: str = AFAR.host, *, local: bool = False) -> Outcome:
        return Outcome.of(self.authenticator.login(user, password, address, local=local))

    def new_api_token(self, user: str = "alice", **more: Any) -> str:
        text, public, digest = self.authenticator.new_api_token()
        self.commit(TokenCreated(public, user, digest, ("read",), **more))
        return text


@attrs.define(eq=False)
class Outcome:
    """What becomes of something that may take its time."""

    deferred: Deferred[Any]
    results: list[Any] = attrs.field(factory=list)

    @classmethod
    def of(cls, coroutine: Coroutine[Any, Any, Any]) -> Outcome:
        deferred: Deferred[Any] = Deferred.fromCoroutine(coroutine)
        outcome = cls(deferred)
        deferred.addBoth(outcome._keep)
        return outcome

    def _keep(self, result: object) -> None:
        self.results.append(result)

    @property
    def pending(self) -> bool:
        return not self.results

    def now(self) -> Any:
        assert self.results, "it takes longer"
        return self.results[0]

    def error(self) -> BaseException:
        error: BaseException = self.now().value
        return error


def request_with(peer: Any = AFAR, **headers: str) -> Request:
    request = Request(DummyChannel(peer))
    for name, value in {"host": "localhost:3141", **headers}.items():
        request.requestHeaders.addRawHeader(name.replace("_", "-"), value)
    return request


def encoded(user: str, secret: str, coding: str = "utf-8") -> str:
    return base64.b64encode(f"{user}:{secret}".encode(coding)).decode()


def basic(user: str, secret: str, peer: Any = AFAR, **headers: str) -> Request:
    return request_with(peer, authorization=f"Basic {encoded(user, secret)}", **headers)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(str(tmp_path))
    yield made
    made.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that is logged, with every field."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        lines.append(str({key: str(value) for key, value in event.items()}))

    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


# Credentials ---------------------------------------------------------------------------------------------------------


def test_without_credentials_it_is_nobody(setup: Setup) -> None:
    assert setup.asks(request_with()).now() == NOBODY
    assert setup.threads.calls == []


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_a_password_in_basic_credentials_proves_a_user(setup: Setup, scheme: str) -> None:
    request = request_with(authorization=f"{scheme} {encoded('alice', PASSWORD)}")
    assert setup.asks(request).now() == Principal("alice")


def test_so_does_one_in_devpis_own_header_which_wins_over_basic(setup: Setup) -> None:
    assert setup.asks(request_with(x_devpi_auth=encoded("alice", PASSWORD))).now() == Principal("alice")
    both = basic("bob", "bobs", x_devpi_auth=encoded("alice", PASSWORD))
    assert setup.asks(both).now() == Principal("alice")
    wrong_first = basic("bob", "bobs", x_devpi_auth="?")
    assert setup.asks(wrong_first).now() == NOBODY


UNREADABLE = (
    "", "Basic", "Basic ", "Basic ????", "Basic YWxpY2U", "Basic YWxpY2U=", "Bearer abc", "Digest username=alice", "Basic é",
    "==",
)  # fmt: skip


@pytest.mark.parametrize("authorization", UNREADABLE)
def test_what_cannot_be_read_is_nobody_and_no_error(setup: Setup, authorization: str) -> None:
    assert setup.asks(request_with(authorization=authorization)).now() == NOBODY
    assert setup.threads.calls == []


def test_credentials_are_utf_8_or_else_latin_1_and_a_password_may_hold_colons() -> None:
    latin = request_with(authorization=f"Basic {encoded('jürgen', 'grün', 'latin-1')}")
    assert credentials_of(latin) == Credentials("jürgen", "grün")
    assert credentials_of(basic("jürgen", "a:b:c")) == Credentials("jürgen", "a:b:c")


@given(st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "S", "Zs"])))
def test_any_header_is_credentials_or_none(text: str) -> None:
    credentials_of(request_with(x_devpi_auth=text))
    credentials_of(request_with(authorization=f"Basic {text}"))


@pytest.mark.parametrize(("user", "secret"), [("alice", "wrong"), ("nobody", PASSWORD), ("alice", ""), ("", ""), ("carol", "")])
def test_wrong_credentials_are_nobody_and_no_error(setup: Setup, user: str, secret: str) -> None:
    assert setup.principal(user, secret) == NOBODY


# Login tokens --------------------------------------------------------------------------------------------------------


def test_a_login_gives_a_token_that_proves_the_user_in_either_header_without_bcrypt(setup: Setup) -> None:
    token, seconds = setup.logs_in("alice", PASSWORD).now()
    assert seconds == 36000
    assert setup.threads.verified() == 1
    assert setup.principal("alice", token) == Principal("alice")
    assert setup.asks(request_with(x_devpi_auth=encoded("alice", token))).now() == Principal("alice")
    assert setup.threads.verified() == 1


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("carol", ""), ("alice", ""), ("root", "x")]
)
def test_a_login_that_fails_says_so_in_the_same_words_whatever_is_wrong(setup: Setup, user: str, password: str) -> None:
    error = setup.logs_in(user, password).error()
    assert isinstance(error, LoginFailed)
    assert str(error) == f"user '{user}' could not be authenticated"


def test_a_token_of_another_user_an_expired_and_a_forged_one_are_nobodys_and_cost_no_bcrypt(setup: Setup) -> None:
    token = setup.authenticator.tokens.make(setup.user("alice"), setup.clock.seconds())
    forged = LoginTokens(b"x" * 32, 36000).make(setup.user("alice"), setup.clock.seconds())
    assert setup.principal("bob", token) == NOBODY
    assert setup.principal("alice", forged) == NOBODY
    setup.clock.advance(36002)
    assert setup.principal("alice", token) == NOBODY
    assert setup.threads.calls == []


def test_a_token_is_void_after_a_password_change_and_after_the_user_is_gone(setup: Setup) -> None:
    tokens = {name: setup.authenticator.tokens.make(setup.user(name), setup.clock.seconds()) for name in ("alice", "bob")}
    setup.commit(UserModified("alice", password_hash=hash_password("new", COST)), UserDeleted("bob"))
    assert setup.principal("alice", tokens["alice"]) == NOBODY
    assert setup.principal("bob", tokens["bob"]) == NOBODY
    setup.commit(UserCreated("bob", password_hash=hash_password("bobs", COST)))
    assert setup.principal("bob", tokens["bob"]) == NOBODY


def test_the_token_for_a_changed_password_is_good(setup: Setup) -> None:
    setup.commit(UserModified("alice", password_hash=hash_password("new", COST)))
    token, _seconds = Outcome.of(setup.authenticator.token_for(setup.user("alice"))).now()
    assert setup.principal("alice", token) == Principal("alice")


# Passwords that were hashed elsewhere --------------------------------------------------------------------------------


def test_an_imported_hash_gives_way_to_one_of_ours_at_the_first_login(setup: Setup) -> None:
    imported = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    setup.commit(UserCreated("dora", password_hash=imported))

    async def replace_hash(user: str, former: str, password_hash: str) -> None:
        setup.commit(*decide_hash_replaced(setup.user(user), former, password_hash))

    setup.authenticator.replace_hash = replace_hash
    assert setup.principal("dora", "wrong") == NOBODY
    assert setup.user("dora").password_hash == imported
    token, _seconds = setup.logs_in("dora", PASSWORD).now()
    assert is_password_hash(setup.user("dora").password_hash or "")
    assert setup.principal("dora", token) == Principal("dora"), "the token goes with the new hash"
    assert setup.logs_in("dora", PASSWORD).now()


def test_a_login_succeeds_where_the_hash_cannot_be_replaced(setup: Setup) -> None:
    imported = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    setup.commit(UserCreated("dora", password_hash=imported))

    async def replace_hash(user: str, former: str, password_hash: str) -> None:
        raise StorageFull("log", "no space")

    setup.authenticator.replace_hash = replace_hash
    token, _seconds = setup.logs_in("dora", PASSWORD).now()
    assert setup.principal("dora", token) == Principal("dora")
    assert setup.user("dora").password_hash == imported


def test_a_hash_that_was_changed_meanwhile_is_not_replaced(setup: Setup) -> None:
    assert decide_hash_replaced(setup.user("alice"), "another", "new") == ()
    assert decide_hash_replaced(None, "another", "new") == ()


# API tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["__token__", "alice", "bob", ""])
def test_an_api_token_proves_its_user_under_any_name_and_costs_no_bcrypt(setup: Setup, name: str) -> None:
    text = setup.new_api_token(index="alice/dev")
    principal = setup.principal(name, text)
    assert principal.user == "alice"
    assert principal.token is not None
    assert principal.token.index == "alice/dev"
    assert setup.threads.calls == []


def test_a_revoked_a_forged_and_an_orphaned_api_token_prove_nothing(setup: Setup) -> None:
    kept, revoked, orphaned = setup.new_api_token(), setup.new_api_token(), setup.new_api_token("bob")
    setup.commit(TokenRevoked(revoked[8:24]), UserDeleted("bob"))
    other_secret = setup.authenticator.new_api_token()[0][-43:]
    ghosts = setup.new_api_token("ghost")
    for text in (revoked, orphaned, ghosts, kept[:25] + other_secret, f"twistpi-{'0' * 16}-{other_secret}"):
        assert setup.principal("__token__", text) == NOBODY
    assert setup.principal("__token__", kept).user == "alice"


def test_an_api_token_is_good_until_it_expires(setup: Setup) -> None:
    text = setup.new_api_token(expires="2026-11-18T12:00:00Z")  # NOW is 11:06:40 of that day
    assert setup.principal("__token__", text).user == "alice"
    setup.clock.advance(3600)
    assert setup.principal("__token__", text) == NOBODY


# Blank passwords -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", LOCAL, ids=str)
def test_a_blank_password_is_enough_on_this_machine(setup: Setup, peer: Any) -> None:
    assert setup.principal("root", "", peer) == Principal("root")
    assert setup.logs_in("root", "", local=True).now()[1] == 36000
    assert setup.threads.calls == []


def test_it_proves_nothing_from_afar_and_a_login_is_told_what_to_do(setup: Setup) -> None:
    assert setup.principal("root", "") == NOBODY
    error = setup.logs_in("root", "").error()
    assert isinstance(error, LoginFailed)
    assert "twistpi passwd root" in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_forwarded_for", "192.0.2.7"),
        ("x_forwarded_for", "127.0.0.1"),
        ("x_forwarded_host", "pkgs.example"),
        ("x_real_ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("via", "1.1 proxy"),
    ],
)
@pytest.mark.parametrize("trusted", [(), (ip_network("127.0.0.0/8"),)])
def test_a_proxy_on_this_machine_makes_nobody_local(tmp_path: Path, name: str, value: str, trusted: Any) -> None:
    setup = Setup(str(tmp_path), addresses=Addresses(trusted))
    assert setup.asks(basic("root", "", HERE, **{name: value})).now() == NOBODY
    setup.close()


def test_a_blank_password_is_not_good_for_who_has_another_or_none(setup: Setup) -> None:
    assert setup.principal("alice", "", HERE) == NOBODY
    assert setup.principal("carol", "", HERE) == NOBODY
    assert setup.principal("nobody", "", HERE) == NOBODY


# What it costs -------------------------------------------------------------------------------------------------------


def test_a_hundred_requests_one_after_the_other_cost_one_bcrypt(setup: Setup) -> None:
    for _ in range(100):
        setup.clock.advance(1)
        assert setup.principal("alice", PASSWORD) == Principal("alice")
    assert setup.threads.verified() == 1


def test_a_hundred_requests_at_once_cost_one_bcrypt(setup: Setup) -> None:
    setup.threads.hold = True
    asked = [setup.asks(basic("alice", PASSWORD)) for _ in range(100)]
    assert all(outcome.pending for outcome in asked)
    setup.threads.let_one_work()
    assert [outcome.now() for outcome in asked] == [Principal("alice")] * 100
    assert setup.threads.verified() == 1


def test_so_do_requests_of_one_pair_from_several_addresses_and_a_login(setup: Setup) -> None:
    setup.threads.hold = True
    asked = [setup.asks(basic("alice", PASSWORD, peer)) for peer in (AFAR, ELSEWHERE, HERE)]
    login = setup.logs_in("alice", PASSWORD, "192.0.2.9")
    setup.threads.let_one_work()
    assert [outcome.now() for outcome in asked] == [Principal("alice")] * 3
    assert not login.pending
    assert len(setup.threads.calls) == 1


def test_a_client_that_leaves_stops_the_look_for_nobody(setup: Setup) -> None:
    setup.threads.hold = True
    asked = [setup.asks(basic("alice", PASSWORD)) for _ in range(3)]
    asked[0].deferred.cancel()
    setup.threads.let_one_work()
    assert [outcome.now() for outcome in asked[1:]] == [Principal("alice")] * 2
    assert setup.principal("alice", PASSWORD) == Principal("alice")
    assert setup.threads.verified() == 1


def test_a_pair_is_forgotten_a_minute_after_its_last_use(setup: Setup) -> None:
    setup.principal("alice", PASSWORD)
    setup.clock.advance(61)
    setup.principal("alice", PASSWORD)
    assert setup.threads.verified() == 2


def test_a_password_change_makes_the_old_pair_unknown_at_once(setup: Setup) -> None:
    assert setup.principal("alice", PASSWORD) == Principal("alice")
    setup.commit(UserModified("alice", password_hash=hash_password("new", COST)))
    assert setup.principal("alice", PASSWORD) == NOBODY
    assert setup.principal("alice", "new") == Principal("alice")


def test_a_request_may_be_asked_about_twice_and_counts_once(setup: Setup) -> None:
    wrong = basic("alice", "wrong")
    for _ in range(20):
        assert setup.asks(wrong).now() == NOBODY
    assert setup.threads.verified() == 1


def test_two_passwords_are_hashed_at_a_time_and_the_others_stand_in_line(tmp_path: Path) -> None:
    setup = Setup(str(tmp_path), line={"longest": 3, "longest_of_one": 2})
    setup.threads.hold = True
    waiting = [Outcome.of(setup.authenticator.hash_password(str(number))) for number in range(4)]
    assert len(setup.threads.calls) == 2
    refused = Outcome.of(setup.authenticator.hash_password("5"))
    assert isinstance(refused.error(), TwistpiError)
    login = setup.logs_in("alice", PASSWORD)
    full = setup.asks(basic("bob", "bobs"))
    assert isinstance(full.error(), TwistpiError)
    for _ in range(5):
        assert len(setup.threads.waiting) <= 2
        setup.threads.let_one_work()
    assert not login.pending
    assert [verify_password(str(number), outcome.now()) for number, outcome in enumerate(waiting)] == [True] * 4
    setup.close()


def test_who_leaves_a_hashing_makes_no_room_for_another(setup: Setup) -> None:
    setup.threads.hold = True
    for number in range(10):
        Outcome.of(setup.authenticator.hash_password(str(number))).deferred.cancel()
    assert len(setup.threads.waiting) == 2
    for _ in range(10):
        setup.threads.let_one_work()
    assert setup.threads.waiting == []


def test_a_blank_password_needs_no_hashing(setup: Setup) -> None:
    assert Outcome.of(setup.authenticator.hash_password("")).now() == BLANK
    assert setup.threads.calls == []


def test_a_failing_thread_is_no_answer_and_ends_nothing(setup: Setup) -> None:
    def broken(*_arguments: Any, **_named: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        done.errback(RuntimeError("no threads left"))
        return done

    setup.authenticator.line = PasswordQueue(broken)
    for _ in range(5):
        assert isinstance(setup.logs_in("bob", "bobs").error(), RuntimeError)
        setup.authenticator._throttle.succeeded("bob", AFAR.host)
    assert setup.authenticator.line._working == 0


# Guessing ------------------------------------------------------------------------------------------------------------


def _fail(setup: Setup, times: int, user: str = "alice", address: str = AFAR.host) -> None:
    for number in range(times):
        outcome = setup.logs_in(user, f"wrong {number}", address)
        while outcome.pending:
            setup.clock.advance(0.25)
        assert isinstance(outcome.error(), LoginFailed)


def test_after_a_few_wrong_passwords_an_answer_takes_longer_and_longer_and_nothing_is_hashed_meanwhile(setup: Setup) -> None:
    _fail(setup, 3)
    for seconds in (0.5, 1, 2, 4, 8, 8):
        hashed = setup.threads.verified()
        outcome = setup.logs_in("alice", f"wrong for {seconds} {hashed}")
        setup.clock.advance(seconds - 0.125)
        assert outcome.pending
        assert setup.threads.verified() == hashed
        setup.clock.advance(0.125)
        assert isinstance(outcome.error(), LoginFailed)


def test_wrong_credentials_of_requests_count_as_well(setup: Setup) -> None:
    for number in range(3):
        assert setup.principal("alice", f"wrong {number}") == NOBODY
    slow = setup.asks(basic("alice", "wrong"))
    assert slow.pending
    setup.clock.advance(0.5)
    assert slow.now() == NOBODY


def test_the_right_password_waits_too_and_then_all_is_forgiven(setup: Setup) -> None:
    _fail(setup, 5)
    right = setup.logs_in("alice", PASSWORD)
    assert right.pending
    setup.clock.advance(2)
    assert right.now()[1] == 36000
    _fail(setup, 1)
    assert not setup.logs_in("alice", "wrong again").pending


def test_who_is_known_is_not_slowed_by_who_guesses(setup: Setup) -> None:
    token = setup.authenticator.tokens.make(setup.user("alice"), setup.clock.seconds())
    assert setup.principal("alice", PASSWORD) == Principal("alice")
    _fail(setup, 5)
    assert setup.principal("alice", PASSWORD) == Principal("alice")
    assert setup.principal("alice", token) == Principal("alice")
    assert setup.principal("bob", "bobs") == Principal("bob")
    assert not setup.logs_in("alice", "wrong", "192.0.2.99").pending


def test_guessing_through_many_connections_gets_no_more_looks_and_is_refused_beyond(setup: Setup) -> None:
    guesses = [setup.logs_in("alice", str(number)) for number in range(100)]
    refused = [outcome for outcome in guesses if not outcome.pending and getattr(outcome.error(), "status", 0) == 429]
    assert len(refused) == 93
    assert setup.threads.verified() == 3
    setup.clock.pump([0.5] * 20)
    assert setup.threads.verified() == 7
    assert not any(outcome.pending for outcome in guesses)


def test_a_request_whose_guess_is_refused_is_nobodys(setup: Setup) -> None:
    for number in range(7):
        setup.logs_in("alice", str(number))
    assert setup.principal("alice", PASSWORD) == NOBODY


def test_another_server_that_counts_as_well_makes_guesses_wait_and_refuses_them(tmp_path: Path) -> None:
    waits: dict[str, float | None] = {"alice": 3.0, "bob": None}
    right = []

    class Shared:
        async def reserve(self, user: str, address: str) -> float | None:
            return waits[user]

        async def succeeded(self, user: str, address: str) -> None:
            right.append((user, address))

    setup = Setup(str(tmp_path), shared=Shared())
    slowed = setup.logs_in("alice", PASSWORD)
    assert slowed.pending
    setup.clock.advance(3)
    assert slowed.now()[1] == 36000
    assert right == [("alice", AFAR.host)]
    assert getattr(setup.logs_in("bob", "bobs").error(), "status", 0) == 429
    setup.close()


def test_names_that_nobody_has_are_slowed_together_and_hash_nothing(setup: Setup) -> None:
    for number in range(3):
        assert not setup.logs_in(f"nobody{number}", "x").pending
    assert setup.logs_in("nobody4", "x").pending
    assert setup.threads.calls == []
    assert not setup.logs_in("alice", "wrong").pending


def test_when_the_server_stops_nobody_waits_any_more(setup: Setup) -> None:
    _fail(setup, 5)
    setup.threads.hold = True
    slowed = setup.logs_in("alice", "wrong")
    hashing = [Outcome.of(setup.authenticator.hash_password(str(number))) for number in range(4)]
    setup.authenticator.stop()
    assert not any(outcome.pending for outcome in (slowed, *hashing))
    assert setup.clock.getDelayedCalls() == []


# The log -------------------------------------------------------------------------------------------------------------


def test_failed_logins_are_logged_with_user_and_address(setup: Setup, log: list[str]) -> None:
    setup.logs_in("alice", "wrong")
    setup.principal("alice", "wrong, too", ELSEWHERE)
    assert sum("alice" in line and AFAR.host in line and "failed" in line for line in log) == 1
    assert sum("alice" in line and ELSEWHERE.host in line and "failed" in line for line in log) == 1


def test_no_secret_is_ever_logged_wherever_somebody_puts_it(setup: Setup, log: list[str]) -> None:
    api_token = setup.new_api_token(expires="2026-01-01T00:00:00Z")
    login_token = setup.authenticator.tokens.make(setup.user("alice"), 0)
    secrets = ["hunter2hunter2", api_token, login_token]
    for secret in secrets:
        for user, password in (("alice", secret), (secret, ""), (secret, "x"), ("nobody", secret), ("root", secret)):
            setup.logs_in(user, password)
            setup.asks(basic(user, password, ELSEWHERE))
            setup.asks(request_with(x_devpi_auth=encoded(user, password)))
    setup.clock.pump([1.0] * 30)
    assert any("failed" in line for line in log)
    assert not [line for line in log if any(secret in line or secret[-43:] in line for secret in secrets)]


def test_what_holds_secrets_does_not_show_them() -> None:
    assert "hunter2" not in repr(Credentials("alice", "hunter2"))
