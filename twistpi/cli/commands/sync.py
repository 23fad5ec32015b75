"""The command ``sync``: fetch files before anybody asks for them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from twistpi.cli.clients import ask_local_server
from twistpi.cli.commands.common import FILE, settings_options, show, show_progress, trusted
from twistpi.http.blocking import BlockingClient
from twistpi.http.routes import ProxyRules
from twistpi.http.urls import split_credentials
from twistpi.model.errors import TwistpiError
from twistpi.model.names import IndexName
from twistpi.rules.install_targets import KNOWN, Target, targets_of
from twistpi.rules.lock_files import Wanted, read_wanted
from twistpi.server.node import read_node
from twistpi.server.settings import Settings
from twistpi.transfer.sync import Sync, SyncReport
from twistpi.transfer.web_reader import WebReader

_PATIENCE: Final = 300.0
"""Seconds without a byte: the server may have to fetch a large file first."""
_MACHINES: Final = {"AMD64": "x86_64", "ARM64": "arm64"}
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}


@click.command()
@settings_options("ca_file")
@click.option(
    "--into",
    metavar="USER/INDEX|URL",
    required=True,
    help="The index whose mirrors are to have the files, here or at an address.",
)
@click.option(
    "-r",
    "--requirement",
    "files",
    metavar="FILE",
    type=FILE,
    multiple=True,
    help="requirements.txt, a list of names, uv.lock, poetry.lock, pdm.lock or pylock.toml.",
)
@click.option("--python", "pythons", metavar="VERSIONS", help="Versions of Python, such as 3.11,3.12.  [default: this one]")
@click.option("--platform", "platforms", metavar="PLATFORMS", help=f"Of {KNOWN}.  [default: this machine]")
@click.option("--all-files", is_flag=True, help="Every file of each release, or all that a lock names.")
@click.option("--closure", is_flag=True, help="Also what is needed in turn, as uv resolves it for each Python and platform.")
@click.option("--ca-file", metavar="PATH", type=FILE, help="A file with further certificates to trust.")
@click.option("--json", "json", is_flag=True, help="Print the report as JSON.")
@click.argument("requirements", nargs=-1)
def sync(
    settings: Settings,
    into: str,
    files: Sequence[str],
    pythons: str | None,
    platforms: str | None,
    all_files: bool,
    closure: bool,
    json: bool,
    requirements: Sequence[str],
) -> None:
    """Fetch files into the cache before anybody asks for them.

    REQUIREMENTS are projects, perhaps with versions: 'django>=5'. Of each the newest version is fetched that the index offers,
    with its core metadata: for every Python and platform the best wheel, or else the source distribution. What policies hide is
    not fetched. What is there already is passed over, so the command can be run again after an interruption, and by a timer.
    """
    if not files and not requirements:
        raise click.UsageError("name requirements, or files of them with -r")
    targets = targets_of(_split(pythons) or [_this_python()], _split(platforms) or [_this_platform()])
    index = _address(settings, into)
    wanted = list(_resolved(index, files, requirements, targets, settings)) if closure else list(_read(files, requirements))
    try:
        address, credentials = split_credentials(index)
    except ValueError as error:
        raise click.BadParameter(f"{into}: {error}", param_hint="--into") from None
    headers = {} if credentials is None else {"Authorization": credentials.authorization}
    report = SyncReport()
    with (
        closing(BlockingClient(_PATIENCE, ProxyRules.from_environment(os.environ), trusted(settings))) as client,
        show_progress(sys.stderr, "files") as progress,
    ):
        web = WebReader(client, address, headers)
        Sync(web, f"{address.rstrip('/')}/", targets, all_files).run(
            wanted, report, lambda done, all_: progress("sync", done, all_)
        )
    show(report.fields() if json else None, report.lines())
    if report.differences:
        sys.exit(1)


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _this_platform() -> str:
    system = _SYSTEMS.get(platform.system(), "linux")
    machine = platform.machine()
    return f"{system}-{_MACHINES.get(machine, machine)}"


def _address(settings: Settings, into: str) -> str:
    """Return the address of an index: as it is given, or at the server that runs on the server directory."""
    if "://" in into:
        return into
    name = str(IndexName.parse(into))
    node = read_node(settings.serverdir)
    answered = None if node is None else ask_local_server(settings.serverdir, node, "/+api")
    if answered is None:
        raise TwistpiError(
            f"No server runs on {settings.serverdir}; start it, or give the address of the index: --into http://…/{name}"
        )
    url = answered[0].url
    if url.startswith("unix:"):
        raise TwistpiError("The server listens only on a socket; give the address at which clients reach the index.")
    return f"{url.rstrip('/')}/{name}"


def _read(files: Sequence[str], requirements: Sequence[str]) -> Iterator[Wanted]:
    """Yield what is wanted, each thing once."""
    seen = set()
    texts = [(os.path.basename(path), Path(path).read_text(encoding="utf-8")) for path in files]
    for name, text in [*texts, ("the command", "\n".join(requirements))]:
        for wanted in read_wanted(name, text):
            if wanted not in seen:
                seen.add(wanted)
                yield wanted


def _resolved(
    index: str, files: Sequence[str], requirements: Sequence[str], targets: Sequence[Target], settings: Settings
) -> Iterator[Wanted]:
    """Yield what uv resolves for each target through the index."""
    seen = set()
    for target in targets:
        text = _compiled(index, files, requirements, target, settings)
        for wanted in read_wanted(f"what uv resolved for Python {target.python} on {target.platform}", text):
            if wanted not in seen:
                seen.add(wanted)
                yield wanted


def _compiled(index: str, files: Sequence[str], requirements: Sequence[str], target: Target, settings: Settings) -> str:
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        raise TwistpiError("--closure needs uv, which is not installed: pip install uv")
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--no-cache"]
    command += ["--default-index", f"{index.rstrip('/')}/+simple/", "--python-version", target.python]
    command += ["--python-platform", target.uv_name, *files, *(["-"] if requirements else [])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    if settings.ca_file is not None:
        environment["SSL_CERT_FILE"] = settings.ca_file
    done = subprocess.run(command, input="\n".join(requirements), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TwistpiError(f"uv cannot resolve this for Python {target.python} on {target.platform}:\n{done.stderr.strip()}")
    return done.stdout
