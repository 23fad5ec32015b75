"""Passwords and what is kept of them.  Every function here takes long and is called in threads.

What is kept is passlib's ``bcrypt_sha256``, version 2: bcrypt sees at most 72 bytes, so it is given the password's HMAC-SHA256
under its own salt, as base64.  The hash tells its cost, so that the setting may change without locking anybody out::

    $bcrypt-sha256$v=2,t=2b,r=12$SALT (22 characters)$DIGEST (31 characters)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

import bcrypt

BLANK: Final = ""
"""What is kept of the blank password; None is kept of a user who cannot log in."""
CHEAPEST, DEAREST = 4, 18
"""The costs that are accepted: each step doubles the time a check takes, 12 takes about a quarter of a second."""

_HASH = re.compile(r"\$bcrypt-sha256\$v=2,t=2b,r=(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})\Z", re.ASCII)


def hash_password(password: str, cost: int, salt: bytes | None = None) -> str:
    """What is to be kept of ``password``; blank for the blank one.

    ``cost`` is bcrypt's: the binary logarithm of its rounds.  ``salt`` is what ``bcrypt.gensalt`` makes, a new one when left out.
    """
    if not password:
        return BLANK
    setup = bcrypt.gensalt(cost) if salt is None else salt
    rounds, salt_text = setup.decode("ascii").split("$")[2:]
    whole = bcrypt.hashpw(_condensed(password, salt_text), setup).decode("ascii")
    return f"$bcrypt-sha256$v=2,t=2b,r={int(rounds)}${salt_text}${whole[-31:]}"


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether ``password`` is the one ``password_hash`` was made of.  The blank one matches only the blank hash."""
    if not password_hash or not password:
        return password_hash == BLANK and not password
    match = _HASH.match(password_hash)
    if match is None or not is_password_hash(password_hash):
        return False
    cost, salt_text, digest = match.groups()
    made = bcrypt.hashpw(_condensed(password, salt_text), f"$2b${int(cost):02}${salt_text}".encode("ascii"))
    return hmac.compare_digest(made[-31:], digest.encode("ascii"))


def is_password_hash(text: str) -> bool:
    """Whether ``text`` is something ``hash_password`` makes of a password that is not blank, with a cost that is bearable."""
    match = _HASH.match(text)
    return match is not None and CHEAPEST <= int(match[1]) <= DEAREST


def _condensed(password: str, salt_text: str) -> bytes:
    """All of the password in 44 bytes without a zero among them."""
    # Lone surrogates cannot come from a request, and must not end in a surprise when they come from elsewhere.
    content = password.encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(salt_text.encode("ascii"), content, hashlib.sha256))
