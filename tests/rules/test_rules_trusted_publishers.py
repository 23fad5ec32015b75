"""Whom an index trusts to upload without a password."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from twistpi.model.changes import TokenCreated
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Index
from twistpi.rules.index_config import normalised
from twistpi.rules.trusted_publishers import Grant, TrustedPublisher, decide_grant, decide_issued, publishers_of

ISSUER = "https://issuer.example"
CLAIMS = {"iss": ISSUER, "sub": "repo:acme/hello", "repository": "acme/hello", "ref": "refs/tags/v1", "protected": True}
ITEM = f"Hello_World {ISSUER} repository=acme/hello ref=refs/tags/* protected=true"


def index(name: str = "ann/dev", *items: str) -> Index:
    config = normalised("stage", {"trusted_publishers": list(items or (ITEM,))}, lambda _base: True)
    return Index(name, {"type": "stage", **config})


def test_an_item_is_what_its_text_says() -> None:
    (publisher,) = publishers_of(index())
    assert publisher == TrustedPublisher(
        "hello-world", ISSUER, (("repository", "acme/hello"), ("ref", "refs/tags/*"), ("protected", "true"))
    )
    assert TrustedPublisher.parse(str(publisher)) == publisher


@pytest.mark.parametrize(
    ("change", "trusted"),
    [
        ({}, True),
        ({"ref": "refs/tags/"}, True),
        ({"ref": "refs/heads/main"}, False),
        ({"repository": "acme/hello2"}, False),
        ({"repository": None}, False),
        ({"repository": ["acme/hello"]}, False),
        ({"protected": False}, False),
        ({"iss": "https://other.example"}, False),
        ({"iss": f"{ISSUER}/"}, False),
    ],
)
def test_every_claim_has_to_be_right(change: dict[str, Any], trusted: bool) -> None:
    assert TrustedPublisher.parse(ITEM).trusts({**CLAIMS, **change}) is trusted


@pytest.mark.parametrize(
    "item",
    [
        "",
        "hello",
        f"hello {ISSUER}",
        f"hello {ISSUER} repository=*",
        f"hello {ISSUER} aud=x",
        f"hello {ISSUER} repository",
        f"he/llo {ISSUER} repository=x",
        "hello http://issuer.example repository=x",
        "hello https://me:secret@issuer.example repository=x",
        "hello https://issuer.example/?a=b repository=x",
        "hello file:///keys repository=x",
    ],
)
def test_what_trusts_nobody_or_everybody_is_refused(item: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TrustedPublisher.parse(item)
    if item:
        with pytest.raises(BadRequest, match="trusted_publishers"):
            index("ann/dev", item)


def test_an_issuer_on_this_machine_needs_no_certificate() -> None:
    assert TrustedPublisher.parse("hello http://127.0.0.1:4040 repository=x").issuer == "http://127.0.0.1:4040"


def test_a_publisher_gets_what_one_index_grants() -> None:
    assert decide_grant([index(), index("bob/dev", f"hello {ISSUER} repository=acme/other")], CLAIMS) == Grant(
        "ann/dev", "hello-world"
    )
    with pytest.raises(TwistpiError, match="repository=acme/hello"):
        decide_grant([index("bob/dev", f"hello {ISSUER} repository=acme/other")], CLAIMS)


def test_where_several_grant_something_one_has_to_be_named() -> None:
    indexes = [index(), index("bob/dev")]
    with pytest.raises(TwistpiError, match="hello-world on ann/dev, hello-world on bob/dev"):
        decide_grant(indexes, CLAIMS)
    assert decide_grant(indexes, CLAIMS, "bob/dev") == Grant("bob/dev", "hello-world")
    with pytest.raises(TwistpiError, match="No index"):
        decide_grant(indexes, CLAIMS, "bob/dev", "other")


def test_the_token_uploads_one_project_to_one_index_for_a_quarter_of_an_hour() -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    (change,) = decide_issued(Grant("ann/dev", "hello"), CLAIMS, "public", "digest", now)
    title = "publisher repo:acme/hello"
    assert change == TokenCreated("public", "ann", "digest", ("upload",), "ann/dev", "hello", "2026-11-30T12:15:00Z", title)
