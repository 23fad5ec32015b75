"""Attestations (PEP 740) are taken as they are when they are about the file that is uploaded, and refused otherwise."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.errors import BadRequest
from twistpi.rules.attestations import provenance_of

WHEEL = "My_Pkg-1.0-py3-none-any.whl"
DIGEST = sha256(b"wheel").hexdigest()
Damage = Callable[[dict[str, Any]], object]


def statement(name: str = WHEEL, digest: str = DIGEST) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest, "sha512": "0" * 128}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": None,
    }


def attestation(stated: Any = None) -> dict[str, Any]:
    stated = statement() if stated is None else stated
    return {
        "version": 1,
        "verification_material": {
            "certificate": b64encode(b"\x30\x82certificate").decode(),
            "transparency_entries": [{"logIndex": "1", "logId": {"keyId": "x"}}],
        },
        "envelope": {
            "statement": b64encode(json.dumps(stated).encode()).decode(),
            "signature": b64encode(b"signature").decode(),
        },
    }


def ask(*attestations: Any, filename: str = WHEEL) -> Any:
    found = provenance_of([json.dumps(list(attestations)).encode()], filename, DIGEST)
    return None if found is None else json.loads(found)


def test_R97_the_provenance_object_holds_the_attestations_as_they_came() -> None:
    one, other = attestation(), {**attestation(), "more": ["kept"]}
    told = ask(one, other)
    assert told["version"] == 1
    (bundle,) = told["attestation_bundles"]
    assert bundle["attestations"] == [one, other]
    assert bundle["publisher"] == {"kind": "twistpi-upload", "claims": None}


def test_the_same_attestations_give_the_same_bytes() -> None:
    value = json.dumps([attestation()])
    assert provenance_of([value], WHEEL, DIGEST) == provenance_of([value.encode()], WHEEL, DIGEST)


@pytest.mark.parametrize("values", [[], [b""], [b"  \n"], [b"[]"], ["", "[]"]], ids=repr)
def test_no_attestations_are_none(values: list[str | bytes]) -> None:
    assert provenance_of(values, WHEEL, DIGEST) is None


@pytest.mark.parametrize(
    ("stated", "filename"),
    [
        (WHEEL, WHEEL),
        ("my_pkg-1.0-py3-none-any.whl", WHEEL),
        ("my_pkg-1.0.0-py2.py3-none-any.whl", "My_Pkg-1.0-py3.py2-none-any.whl"),
        ("my_pkg-1.0.tar.gz", "My.Pkg-1.0.tar.gz"),
        ("my-pkg-1.0.egg", "my-pkg-1.0.egg"),
    ],
)
def test_a_statement_may_spell_the_name_of_its_file_normalised(stated: str, filename: str) -> None:
    assert ask(attestation(statement(stated)), filename=filename) is not None


@pytest.mark.parametrize(
    "stated",
    ["my_pkg-1.1-py3-none-any.whl", "other-1.0-py3-none-any.whl", "My_Pkg-1.0.tar.gz", "my_pkg-1.0-py2-none-any.whl", "", "?"],
)
def test_R97_an_attestation_of_another_file_is_refused_and_names_both(stated: str) -> None:
    with pytest.raises(BadRequest, match=r"number 1: its subject is .* not 'My_Pkg-1\.0-py3-none-any\.whl'") as refusal:
        ask(attestation(statement(stated)))
    assert refusal.value.status == 400


def test_R97_an_attestation_of_other_bytes_is_refused() -> None:
    with pytest.raises(BadRequest, match=f"number 2: its subject has the SHA-256 {'0' * 64}, but .* has {DIGEST}"):
        ask(attestation(), attestation(statement(digest="0" * 64)))
    assert ask(attestation(statement(digest=DIGEST.upper()))) is not None


def _put(*path: str, value: Any) -> Damage:
    def damage(whole: dict[str, Any]) -> None:
        for key in path[:-1]:
            whole = whole[key]
        whole[path[-1]] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_put("version", value=2), "version is 2"),
        (_put("version", value=True), "version is True"),
        (_put("version", value=None), "version is None"),
        (_put("verification_material", value=[]), "no verification_material"),
        (_put("verification_material", "certificate", value="?"), "certificate is not base64"),
        (_put("verification_material", "certificate", value="YWJj"), "not in the DER format"),
        (_put("verification_material", "certificate", value="ü"), "certificate is not base64"),
        (_put("verification_material", "certificate", value=7), "certificate is not base64"),
        (_put("verification_material", "transparency_entries", value={}), "transparency_entries"),
        (_put("verification_material", "transparency_entries", value=[1]), "transparency_entries"),
        (_put("envelope", value=None), "no envelope"),
        (_put("envelope", "signature", value=""), "signature is not base64"),
        (_put("envelope", "signature", value="YWJj\nYWJj"), "signature is not base64"),
        (_put("envelope", "statement", value="YWJj"), "statement is not JSON"),
    ],
)  # fmt: skip
def test_what_has_not_the_shape_of_an_attestation_is_refused(damage: Damage, reason: str) -> None:
    whole = attestation()
    damage(whole)
    with pytest.raises(BadRequest, match=reason):
        ask(whole)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_put("_type", value="https://in-toto.io/Statement/v0.1"), "not an https://in-toto"),
        (_put("predicateType", value=None), "no predicateType"),
        (_put("subject", value=[]), "not have exactly one subject"),
        (_put("subject", value=statement()["subject"] * 2), "not have exactly one subject"),
        (_put("subject", value=["x"]), "not have exactly one subject"),
        (_put("subject", value=[{"name": WHEEL}]), "no SHA-256"),
        (_put("subject", value=[{"name": WHEEL, "digest": {"sha256": "z" * 64}}]), "no SHA-256"),
        (_put("subject", value=[{"name": 7, "digest": {"sha256": DIGEST}}]), "subject is 7"),
    ],
)
def test_what_is_no_statement_about_one_file_is_refused(damage: Damage, reason: str) -> None:
    stated = statement()
    damage(stated)
    with pytest.raises(BadRequest, match=reason):
        ask(attestation(stated))
    with pytest.raises(BadRequest, match="not an"):
        ask(attestation([]))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{}", "not a JSON array"),
        (b"[", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "number 1: it is not an object"),
        (b"[{}]", "version is None"),
        (json.dumps([attestation()] * 21).encode(), "there are 21"),
        (b"[" * 5000 + b"]" * 5000, "not JSON"),
        (b'[{"x": ' + b"[" * 300 + b"]" * 300 + b"}]", "nested too deeply"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_R97_what_is_no_list_of_attestations_is_refused_and_never_a_failure(value: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        provenance_of([value], WHEEL, DIGEST)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["version", "verification_material", "envelope"]), st.none() | st.text(), _JSON)
def test_whatever_stands_in_an_attestation_is_taken_or_refused(key: str, inner: str | None, value: Any) -> None:
    whole = attestation()
    _put(*([key] if inner is None or key == "version" else [key, inner]), value=value)(whole)
    with suppress(BadRequest):
        assert ask(whole)["attestation_bundles"][0]["attestations"] == json.loads(json.dumps([whole]))


@given(st.lists(st.binary(max_size=60) | st.text(max_size=60), max_size=3))
def test_whatever_is_sent_is_taken_or_refused(values: list[bytes | str]) -> None:
    with suppress(BadRequest):
        provenance_of(values, WHEEL, DIGEST)
