"""Fixtures of the tests of backups."""

from __future__ import annotations

from tests.backup.backed_up import filled, remote_shell
from tests.cli.commands import made, made_once
from tests.fakes.s3_buckets import connect

__all__ = ["connect", "filled", "made", "made_once", "remote_shell"]
