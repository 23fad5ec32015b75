"""The reason why a request failed is a sentence."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from twistpi.http.errors import distrusts, explain


@attrs.define
class Failed:
    """As Twisted holds an exception."""

    value: BaseException


class Wrapped(Exception):
    """As Twisted's client raises what it was about."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__([Failed(error) for error in errors])
        self.reasons = [Failed(error) for error in errors]


class VerificationError(Exception):
    """As ``service_identity`` names its own."""


def tls(*told: Any) -> Exception:
    """As OpenSSL's are."""
    return Exception([*told])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("Connection refused."), "Connection refused"),
        (ValueError(), "ValueError"),
        (Wrapped(Wrapped(OSError("it hung up")), OSError("and more")), "it hung up"),
        (Wrapped(tls(("SSL routines", "", "wrong version number"))), "wrong version number"),
        (tls(), "[]"),
        (
            Wrapped(tls(("SSL routines", "", "certificate verify failed"))),
            "its certificate is not accepted (certificate verify failed)",
        ),
        (Wrapped(VerificationError("[DNSMismatch()]")), "its certificate is not accepted (it is for another host)"),
    ],
)
def test_the_innermost_reason_is_told(error: Exception, words: str) -> None:
    assert explain(error) == words
    assert distrusts(error) is ("certificate" in words)
