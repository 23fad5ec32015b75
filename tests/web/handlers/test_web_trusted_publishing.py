"""Tokens of other issuers are exchanged for tokens that may upload."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from tests.fakes.wheels import wheel_name
from tests.web.web_asking import Person
from tests.web.web_uploads import upload, wheel
from tests.web.web_wire import Answer, Wire
from tests.web.web_world import World
from twistpi.model.changes import IndexCreated
from twistpi.model.errors import TwistpiError

ISSUER = "https://issuer.example"
DEV = "ann/dev"


@attrs.define
class FakeIdentities:
    """Believes every token, which is the JSON of its claims."""

    async def claims(self, token: str, audience: str, is_trusted: Callable[[str], bool]) -> Mapping[str, Any]:
        claims: dict[str, Any] = json.loads(token)
        if claims["aud"] != audience or not is_trusted(claims["iss"]):
            raise TwistpiError("The token is not valid.", 422)
        return claims


@pytest.fixture
def world(world: World) -> World:
    """An index that trusts a publisher for one project."""
    world.rebuild(identities=FakeIdentities())
    world.add_user("ann", "secret")
    publishers = [f"hello {ISSUER} repository=acme/hello"]
    world.commit(IndexCreated(DEV, {"type": "stage", "acl_upload": ["ann"], "trusted_publishers": publishers}))
    return world


def mint(world: World, path: str = "/_/oidc/mint-token", **changes: Any) -> Answer:
    audience = json.loads(Wire(world).ask("/_/oidc/audience").body)["audience"]
    claims = {"iss": ISSUER, "aud": audience, "sub": "repo:acme/hello", "repository": "acme/hello", **changes}
    return Person(world).ask("POST", path, {"token": json.dumps(claims)}, accept="application/json")


@pytest.mark.parametrize("path", ["/_/oidc/mint-token", "/+oidc"])
def test_a_publisher_uploads_its_project_and_no_other(world: World, path: str) -> None:
    answer = mint(world, path)
    told = json.loads(answer.body)
    assert (answer.status, told["success"], answer.headers["cache-control"]) == (200, True, "no-store")
    assert told["expires"] == int(world.clock.seconds()) + 900
    publisher = Person(world, f"__token__:{told['token']}")

    def publish(name: str) -> int:
        return upload(publisher, DEV, wheel_name(name, "1.0"), wheel(name=name), name=name).status

    assert publish("hello") == 200
    assert publish("other") in (401, 403)
    world.clock.advance(901)
    assert publish("hello") in (401, 403)


def test_a_stranger_is_told_what_its_token_says_in_the_form_that_publishers_show(world: World) -> None:
    answer = mint(world, repository="acme/other")
    (error,) = json.loads(answer.body)["errors"]
    assert (answer.status, error["code"]) == (422, "invalid-publisher")
    assert "repository=acme/other" in error["description"]
    assert [token for user in ("ann", "root") for token in world.readers.get().api_tokens(user)] == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token": 3}', b'{"token": "x", "index": 3}', b'{"token": "x", "project": "/"}']
)
def test_other_bodies_are_refused_in_the_same_form(world: World, body: bytes) -> None:
    answer = Person(world).ask("POST", "/_/oidc/mint-token", body, accept="application/json")
    assert (answer.status, json.loads(answer.body)["message"]) == (422, "Token request failed")
