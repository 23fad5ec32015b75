"""Fixtures of the tests of bundles."""

from __future__ import annotations

from tests.backup.backed_up import filled
from tests.cli.commands import made, made_once

__all__ = ["filled", "made", "made_once"]
