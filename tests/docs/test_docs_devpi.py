"""The page for people who come from devpi names everything that devpi has, and nothing that twistpi has not."""

from __future__ import annotations

import re

from tests.fakes.live_server import ROOT
from twistpi.cli.commands.help import every_command
from twistpi.cli.main import main
from twistpi.server.settings import CONFIG, TABLE

PAGE = (ROOT / "docs" / "devpi.rst").read_text(encoding="utf-8")
COMMANDS = [
    "devpi-init", "devpi-server", "devpi-passwd", "devpi-gen-secret", "devpi-gen-config", "devpi-export", "devpi-import",
    "devpi-fsck", "devpi-clear-search-index",
]  # fmt: skip
OPTIONS = [
    "--role", "--version", "--passwd", "--configfile", "--debug", "--logger-cfg", "--host", "--port", "--listen",
    "--unix-socket", "--unix-socket-perms", "--threads", "--connection-limit", "--trusted-proxy", "--trusted-proxy-count",
    "--trusted-proxy-headers", "--max-request-body-size", "--outside-url", "--absolute-urls", "--enable-core-metadata",
    "--profile-requests", "--mirror-cache-expiry", "--primary-url", "--master-url", "--replica-file-search-path",
    "--hard-links", "--file-replication-threads", "--file-replication-skip-indexes", "--proxy-timeout",
    "--no-replica-streaming", "--request-timeout", "--offline-mode", "--serverdir", "--storage", "--keyfs-cache-size",
    "--secretfile", "--requests-only", "--restrict-modify", "--autocreate-users", "--theme", "--debug-macros",
    "--documentation-path", "--keep-docs-packed", "--indexer-backend", "--no-root-pypi", "--root-passwd",
    "--root-passwd-hash", "--include-mirrored-files", "--skip-import-type", "--no-events",
]  # fmt: skip
"""Of devpi-server 6.20 and devpi-web 5.1."""


def rows(heading: str) -> list[tuple[str, str]]:
    """Both columns of the table in a section."""
    section = re.search(rf"^{heading}\n-+\n(.*?)(?=\n\n\n|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = [line for line in section[1].splitlines() if re.match(r"``.*?\s{2,}\S", line)]
    return [(old, new) for old, new in (re.split(r"\s{2,}", line, maxsplit=1) for line in lines)]


def test_every_command_and_option_of_devpi_has_a_row() -> None:
    commands = [re.findall(r"devpi-[a-z-]+", old)[0] for old, _ in rows("Commands")]
    assert commands == COMMANDS
    options = [option for old, _ in rows("Options") for option in re.findall(r"--[a-z-]+", old)]
    assert sorted(options) == sorted(OPTIONS)


def test_what_stands_beside_them_is_there() -> None:
    ours = {f"--{setting.name}" for setting in (*TABLE, CONFIG)} | {"--version", "--logfile"}
    for old, new in rows("Options"):
        assert set(re.findall(r"--[a-z-]+", new)) <= ours, old
    named = set(re.findall(r"``twistpi ([a-z-]+)", PAGE))
    assert named <= {path.split()[0] for path, _ in every_command(main)}
    assert named >= {path.split()[0] for path, _ in every_command(main)} - {"settings"}, "docs/devpi.rst names the new commands"
