"""Why a request of ours came to nothing, out of what Twisted and OpenSSL raise.  Pure."""

from __future__ import annotations

_DISTRUST = "certificate verify failed"


def explain(error: BaseException) -> str:
    """Why a request failed, in words that name no address."""
    cause = _innermost(error)
    told = _tls_reason(cause)
    if distrusts(cause):
        return f"its certificate is not accepted ({told or 'it is for another host'})"
    return told or str(cause).strip().rstrip(".") or type(cause).__name__


def distrusts(error: BaseException) -> bool:
    """Whether a request was not made because of the other side's certificate."""
    cause = _innermost(error)
    return _tls_reason(cause) == _DISTRUST or type(cause).__name__ == "VerificationError"


def _innermost(error: BaseException) -> BaseException:
    """What Twisted's client wrapped, once or several times."""
    reasons = getattr(error, "reasons", None)
    return _innermost(reasons[0].value) if reasons else error


def _tls_reason(error: BaseException) -> str:
    """What OpenSSL says, which gives its errors a list of (library, function, reason); empty for any other error."""
    told = error.args[0] if error.args else None
    if isinstance(told, list) and told and isinstance(told[-1], tuple) and told[-1]:
        return str(told[-1][-1])
    return ""
