"""Fixtures of the tests of commands."""

from __future__ import annotations

from tests.cli.commands import made, made_once

__all__ = ["made", "made_once"]
