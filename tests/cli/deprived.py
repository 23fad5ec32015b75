"""Runs commands in a process without root's privilege to ignore file modes: ``python -m tests.cli.deprived PATH``.

Prints, as a JSON object, exit status and output of each command on the server directory PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from twistpi.cli.main import main

COMMANDS: Final = {
    "init": "init --no-root-pypi",
    "passwd": "passwd carol --stdin",
    "doctor": "doctor",
    "token create": "token create --user carol",
    "token list": "token list",
    "token revoke": "token revoke 4f1c2d3e4a5b6c7d",
    "yank": "yank carol/dev x 1",
    "refetch": "refetch root/pypi x-1.0.tar.gz",
    "explain": "explain carol/dev x",
    "quarantine": "quarantine root/pypi x --reason odd",
    "release": "release root/pypi x",
    "policy show": "policy show root/pypi",
    "policy set": "policy set root/pypi deny x",
    "advisories show": "advisories show",
    "advisories refresh": "advisories refresh",
    "status": "status",
    "log": "log",
    "check": "check",
    "gc": "gc",
    "promote": "promote",
    "resync": "resync --primary-url http://127.0.0.1:9/",
    "evict": "evict",
    "compact": "compact --before 1",
    "du": "du",
    "uses": "uses x",
    "audit": "audit",
    "pin": "pin root/pypi x",
    "unpin": "unpin root/pypi x",
    "backup": "backup /dev/null/nowhere",
    "import": f"import {Path(__file__).parent / 'empty_export'}",
    "export": f"export {Path(tempfile.gettempdir()) / 'twistpi-exported-nowhere'}",
}
"""Every command on a server directory that changes or reports something."""
OTHERS: Final = 65534
"""A user who is not this one."""


def run_all(path: Path, spoil: Callable[[], object] | None = None) -> dict[str, tuple[int, str]]:
    """Run each command on ``path``; return exit status and output, with the traceback of what escaped.

    With ``spoil`` each gets a copy of the directory as it is, after ``spoil`` was called.
    """
    environment, found = {"TWISTPI_SERVERDIR": str(path), "TWISTPI_BCRYPT_COST": "4"}, {}
    whole = path.with_name("whole")
    if spoil is not None:
        path.rename(whole)
    for name, words in COMMANDS.items():
        if spoil is not None:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
            shutil.copytree(whole, path)
            spoil()
        done = CliRunner().invoke(main, words.split(), input="secret\n", env=environment)
        escaped = () if isinstance(done.exception, SystemExit | None) else traceback.format_exception(done.exception)
        found[name] = done.exit_code, done.output + "".join(escaped)
    return found


def deprived(path: Path, command: list[str]) -> list[str]:
    """Return ``command`` as it is run by a user who has only what the modes of files in ``path`` give to others."""
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "install util-linux"
    for folder, _, names in os.walk(path):
        for one in (folder, *(os.path.join(folder, name) for name in names)):
            os.chown(one, OTHERS, OTHERS)
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search,-fowner", *command]


def run_deprived(path: Path) -> dict[str, tuple[int, str]]:
    """Do the same as such a user."""
    command = deprived(path, [sys.executable, "-m", "tests.cli.deprived", str(path)])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, tuple[int, str]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_all(Path(sys.argv[1]))))
