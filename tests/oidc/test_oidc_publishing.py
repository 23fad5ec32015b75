"""A job of a build service publishes with a token of its issuer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred

from tests.fakes.upstream import Document, FakeUpstream, Silent
from tests.in_reactor import in_reactor, wait_for
from tests.mirror.mirror_setup import offload
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.model.errors import TwistpiError
from twistpi.oidc.identity import Identities

reactor: Any = real_reactor
AUDIENCE = "twistpi-0123"
NOW = 1_795_000_000
RSA, EC, OTHER = (
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
)
DISCOVERY = "/.well-known/openid-configuration"


class Issuer:
    """An issuer on loopback, and the identities that ask it."""

    def __init__(self, fake: FakeUpstream) -> None:
        self.fake, self.url, self.now, self.monotonic = fake, fake.url, float(NOW), 1000.0
        client = HTTPClient(make_agent(reactor, {}), reactor, offload, reactor.callFromThread, timeout=1, silence=1)
        self.identities = Identities(client, lambda: self.monotonic, lambda: self.now)
        self.publish({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}, [("rsa", RSA), ("ec", EC)])

    def publish(self, description: Any, keys: list[tuple[str, Any]]) -> None:
        public = []
        for name, key in keys:
            algorithm: Any = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            public.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"})
        self.fake.documents[DISCOVERY] = Document(json.dumps(description).encode())
        self.fake.documents["/keys"] = Document(json.dumps({"keys": public}).encode())

    def token(self, key: Any = RSA, name: str = "rsa", **changes: Any) -> str:
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "exp": NOW + 300,
            "iat": NOW,
            "nbf": NOW,
            "sub": "repo:acme/hello",
            "repository": "acme/hello",
            **changes,
        }
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm, {"kid": name})

    async def claims(self, token: str) -> Any:
        return await self.identities.claims(token, AUDIENCE, lambda issuer: issuer == self.url)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    fake = FakeUpstream(reactor).start()
    yield Issuer(fake)
    wait_for(Deferred.fromCoroutine(fake.stop()))


@in_reactor
async def test_a_token_tells_whose_it_is_and_keys_are_fetched_once(issuer: Issuer) -> None:
    assert (await issuer.claims(issuer.token()))["repository"] == "acme/hello"
    assert (await issuer.claims(issuer.token(EC, "ec")))["sub"] == "repo:acme/hello"
    assert issuer.fake.count("/keys") == 1


@in_reactor
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aud": "another"}, "not valid"),
        ({"aud": None}, "not valid"),
        ({"exp": NOW - 60}, "not valid now"),
        ({"exp": None}, "not valid"),
        ({"iat": NOW + 60, "nbf": None}, "not valid now"),
        ({"nbf": NOW + 60}, "not valid now"),
        ({"iss": "https://stranger.example"}, "trusts the issuer"),
        ({"iss": None}, "no token"),
    ],
)
async def test_a_token_for_others_or_of_another_time_is_refused(issuer: Issuer, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TwistpiError, match=words):
        await issuer.claims(issuer.token(**changes))


@in_reactor
async def test_a_token_that_somebody_else_signed_is_refused(issuer: Issuer) -> None:
    with pytest.raises(TwistpiError, match="not valid"):
        await issuer.claims(issuer.token(OTHER))
    unsigned = jwt.encode({"iss": issuer.url, "aud": AUDIENCE, "exp": NOW + 300, "iat": NOW}, "", "none", {"kid": "rsa"})
    with pytest.raises(TwistpiError, match="not valid"):
        await issuer.claims(unsigned)
    with pytest.raises(TwistpiError, match="no token"):
        await issuer.claims("a.b.c")
    assert issuer.fake.count("/keys") == 1


@in_reactor
async def test_a_token_with_an_id_counts_once(issuer: Issuer) -> None:
    await issuer.claims(issuer.token(jti="one"))
    await issuer.claims(issuer.token(jti="two"))
    with pytest.raises(TwistpiError, match="used before"):
        await issuer.claims(issuer.token(jti="one"))


@in_reactor
async def test_a_new_key_is_fetched_when_a_token_names_it_but_not_more_often_than_is_polite(issuer: Issuer) -> None:
    await issuer.claims(issuer.token())
    issuer.publish({"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}, [("new", OTHER)])
    with pytest.raises(TwistpiError, match="does not name"):
        await issuer.claims(issuer.token(OTHER, "new"))
    issuer.monotonic += 31
    await issuer.claims(issuer.token(OTHER, "new"))
    assert issuer.fake.count("/keys") == 2


@in_reactor
async def test_an_issuer_that_is_down_stops_nobody_whose_key_is_known(issuer: Issuer) -> None:
    await issuer.claims(issuer.token())
    issuer.monotonic += 4000
    issuer.fake.misbehave(DISCOVERY, Silent())
    await issuer.claims(issuer.token())
    with pytest.raises(TwistpiError, match="cannot be fetched") as caught:
        await issuer.claims(issuer.token(OTHER, "new"))
    assert caught.value.status == 503


@in_reactor
@pytest.mark.parametrize("description", [{}, {"issuer": "https://other.example", "jwks_uri": "x"}, []])
async def test_an_issuer_that_says_it_is_another_is_not_believed(issuer: Issuer, description: Any) -> None:
    issuer.publish(description, [("rsa", RSA)])
    with pytest.raises(TwistpiError, match="does not describe itself"):
        await issuer.claims(issuer.token())
