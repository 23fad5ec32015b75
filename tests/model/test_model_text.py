"""Secrets are found in any text."""

from __future__ import annotations

import pytest

from twistpi.model.text import without_secrets

TOKEN = "twistpi-0123456789abcdef-" + "A" * 43
LOGIN = "login-" + "a" * 60 + "." + "b" * 43


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET https://me:secret@upstream.example/x failed", "GET https://***@upstream.example/x failed"),
        ("proxy http://secret@proxy.example:3128", "proxy http://***@proxy.example:3128"),
        ("Authorization: Basic bWU6c2VjcmV0", "Authorization: Basic ***"),
        ("sent Bearer c2VjcmV0c2VjcmV0=", "sent Bearer ***"),
        (f"shown {TOKEN}.", "shown twistpi-0123456789abcdef-***."),
        (f"shown {LOGIN}", "shown login-***"),
        (f"/+doc-for/docs-.{LOGIN[6:]}/x.css", "/+doc-for/docs-***/x.css"),
        ("/http/me:secret@upstream.example/x", "/http/***@upstream.example/x"),
        ("//:secret@upstream.example", "//***@upstream.example"),
        ("https://upstream.example/a@b", "https://upstream.example/a@b"),
        ('{"at":"2026-11-18T11:06:40.250Z","target":"/a/b@c"}', '{"at":"2026-11-18T11:06:40.250Z","target":"/a/b@c"}'),
        ("Basic authentication is needed", "Basic authentication is needed"),
        ("login-page and twistpi-server", "login-page and twistpi-server"),
    ],
)
def test_what_lets_somebody_in_is_taken_out(text: str, left: str) -> None:
    assert without_secrets(text) == left
