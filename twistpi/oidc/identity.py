"""Verifies the tokens of issuers, whose keys are fetched when they are needed and kept for an hour.

Sources: OpenID Connect Discovery 1.0, RFC 7517 (keys), RFC 7519 (tokens).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import jwt
import orjson
from twisted.logger import Logger

from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.http.single_flight import SingleFlight
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json

_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Those with public keys only."""
_HOLD: Final = 3600.0
"""Seconds for which keys are kept."""
_PAUSE: Final = 30.0
"""Seconds between two requests for the keys of one issuer: a token may name a key that is not known."""
_TIMEOUT: Final = 10.0
_LARGEST: Final = 1024 * 1024
"""Bytes of a document of an issuer."""
_LONGEST: Final = 32 * 1024
"""Characters of a token."""
_LEEWAY: Final = 30
"""Seconds by which clocks may differ."""
_MOST_ISSUERS: Final = 100
_log = Logger()


@attrs.frozen
class _Keys:
    """The keys of an issuer, as they were at a time."""

    at: float
    """Monotonic seconds."""
    by_id: Mapping[str, jwt.PyJWK]


@attrs.define(eq=False)
class Identities:
    """Verifies tokens, and remembers those that were used."""

    _client: HTTPClient
    _monotonic: Callable[[], float]
    _unix: Callable[[], float]
    _keys: dict[str, _Keys] = attrs.field(factory=dict, init=False)
    _fetching: SingleFlight[str, _Keys] = attrs.field(factory=SingleFlight, init=False)
    _used: dict[tuple[str, str], float] = attrs.field(factory=dict, init=False)
    """Issuer and id of tokens that were used -> when they expire, in Unix seconds."""

    async def claims(self, token: str, audience: str, is_trusted: Callable[[str], bool]) -> Mapping[str, Json]:
        """Return the claims of ``token``; raise ``TwistpiError`` for one that is not valid, or was used before.

        Nothing is requested from an issuer that ``is_trusted`` does not know.
        """
        issuer, key_id = _unverified(token)
        if not is_trusted(issuer):
            raise TwistpiError(f"No index here trusts the issuer {issuer[:200]!r}.", 422)
        key = await self._key(issuer, key_id)
        try:
            options: jwt.types.Options = {"require": ["iss", "aud", "exp", "iat"], "verify_exp": False, "verify_iat": False}
            claims: dict[str, Json] = jwt.decode(
                token, key, algorithms=_ALGORITHMS, audience=audience, issuer=issuer, options={**options, "verify_nbf": False}
            )
        except jwt.PyJWTError as error:
            raise TwistpiError(f"The token of {issuer} is not valid: {error}.", 422) from error
        self._check_times(issuer, claims)
        return claims

    def _check_times(self, issuer: str, claims: Mapping[str, Json]) -> None:
        """Raise ``TwistpiError`` for a token that is not valid now, and for one with an id that came before."""
        now = self._unix()
        ends, begins = claims["exp"], max(claims["iat"], claims.get("nbf", 0))
        if not begins - _LEEWAY <= now < ends + _LEEWAY:
            raise TwistpiError(f"The token of {issuer} is not valid now; is the clock of this server right?", 422)
        self._used = {used: end for used, end in self._used.items() if end + _LEEWAY > now}
        identity = claims.get("jti")
        if isinstance(identity, str):
            if (issuer, identity) in self._used:
                raise TwistpiError(f"The token of {issuer} was used before; ask for another one.", 422)
            self._used[issuer, identity] = float(ends)

    async def _key(self, issuer: str, key_id: str) -> jwt.PyJWK:
        kept, now = self._keys.get(issuer), self._monotonic()
        is_old = kept is None or now - kept.at >= _HOLD or (key_id not in kept.by_id and now - kept.at >= _PAUSE)
        if kept is None or is_old:
            try:
                kept = await self._fetching.join(issuer, lambda: self._fetch(issuer))
            except RequestFailed as failed:
                if kept is None or key_id not in kept.by_id:
                    raise TwistpiError(f"The keys of {issuer} cannot be fetched: {failed.reason}.", 503) from failed
        if key_id not in kept.by_id:
            raise TwistpiError(f"The token of {issuer} is signed with a key that the issuer does not name.", 422)
        return kept.by_id[key_id]

    async def _fetch(self, issuer: str) -> _Keys:
        found = await self._document(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer or not isinstance(found.get("jwks_uri"), str):
            raise TwistpiError(f"{issuer} does not describe itself as an issuer of OpenID Connect.", 502)
        document = await self._document(found["jwks_uri"])
        keys: dict[str, jwt.PyJWK] = {}
        for one in document["keys"] if isinstance(document.get("keys"), list) else ():
            try:
                key = jwt.PyJWK(one)
            except (jwt.PyJWTError, TypeError, AttributeError) as error:
                _log.info("{issuer} has a key that is not known here: {reason}", issuer=issuer, reason=str(error))
                continue
            if key.key_id is not None:
                keys[key.key_id] = key
        kept = self._keys[issuer] = _Keys(self._monotonic(), keys)
        while len(self._keys) > _MOST_ISSUERS:
            del self._keys[next(iter(self._keys))]
        return kept

    async def _document(self, url: str) -> dict[str, Json]:
        response = await self._client.request("GET", url, headers={"Accept": "application/json"}, timeout=_TIMEOUT)
        if response.status != 200:
            response.discard()
            raise TwistpiError(f"{url} answered {response.status}.", 502)
        try:
            value = orjson.loads(await response.read(_LARGEST))
        except orjson.JSONDecodeError as error:
            raise TwistpiError(f"{url} answered with something that is no JSON.", 502) from error
        return value if isinstance(value, dict) else {}


def _unverified(token: str) -> tuple[str, str]:
    """Return the issuer and the id of the key that ``token`` names; raise ``TwistpiError`` for what is no token."""
    try:
        if len(token) > _LONGEST:
            raise jwt.DecodeError("it is too long")
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise TwistpiError(f"What was sent is no token: {error}.", 422) from error
    issuer, key_id = claims.get("iss"), header.get("kid")
    if not isinstance(issuer, str) or not isinstance(key_id, str):
        raise TwistpiError("What was sent is no token of an issuer: it names neither issuer nor key.", 422)
    return issuer, key_id
