"""twistpi beside other index servers, each a mirror of the same upstream: ``python -m bench.peers [--write-docs]``.

Installs the others, pinned, into a temporary folder. All run at once with their defaults and are loaded in turn, so that
the figures of one chart are of the same minutes. ``--write-docs`` puts the bars into ``README.rst``, between its two markers.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urljoin

import attrs

from bench.builds import PROJECT
from bench.client import INSTALLER_ACCEPT, get
from bench.corpus import SMALL_PAGE_FILES
from bench.load import load
from bench.servers import Server, accepts, free_port
from bench.stage import Stage

VERSIONS = {"devpi-server": "6.20.3", "pypiron": "0.0.29", "proxpi": "1.3.1"}
_BEGIN = ".. Bars begin; python -m bench.peers --write-docs replaces them.\n"
_END = ".. Bars end.\n"
_WIDTH = 40
_SECONDS = 2
_ROUNDS = 5


@attrs.frozen
class Peer:
    """A running index server."""

    name: str
    simple_url: str
    """Where it serves the mirror, with a slash at the end."""
    server: Server


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--write-docs", action="store_true", help="put the bars into README.rst")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage.set_up(Path(folder), quick=False)
        peers = [Peer("twistpi", f"{stage.twistpi.url}/root/pypi/+simple/", stage.twistpi.server)]
        try:
            peers += [_START[name](Path(folder), stage.corpus.simple_url) for name in VERSIONS]
            text = _measure(stage, peers)
        finally:
            for peer in peers[1:]:
                peer.server.stop()
            stage.clear_away()
    print(text, end="")
    if options.write_docs:
        _write(text)
    return 0


def _measure(stage: Stage, peers: Sequence[Peer]) -> str:
    page = stage.corpus.add_project("hot-page", SMALL_PAGE_FILES)
    stage.corpus.add_small_wheel("wheel")
    projects = [{"name": page}, {"name": "wheel"}]
    names = {"meta": {"api-version": "1.4"}, "projects": projects}
    (stage.corpus.root / "simple" / "index").write_text(json.dumps(names))
    pages, wheels = {}, {}
    for peer in peers:
        pages[peer.name] = f"{peer.simple_url}{page}/"
        found = json.loads(get(f"{peer.simple_url}wheel/", INSTALLER_ACCEPT).body)["files"][0]["url"]
        wheels[peer.name] = urljoin(f"{peer.simple_url}wheel/", found.partition("#")[0])
        get(wheels[peer.name])
    memory = {peer.name: peer.server.memory()["VmRSS"] / 1e6 for peer in peers}
    charts = [
        _chart(f"Known page of {SMALL_PAGE_FILES} files, answers a second", _rates(stage, pages)),
        _chart("Stored wheel of 4 kB, answers a second", _rates(stage, wheels)),
        _chart("Resident memory, MB", memory),
    ]
    return "\n".join(charts)


def _rates(stage: Stage, urls: Mapping[str, str]) -> dict[str, float]:
    seen: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(_ROUNDS):
        for name, url in urls.items():
            stage.say(f"round {turn + 1} of {_ROUNDS}: {name} {url}")
            seen[name].append(load(url, _SECONDS, {"Accept": INSTALLER_ACCEPT}).answers_per_second)
    return {name: statistics.median(rates) for name, rates in seen.items()}


def _chart(title: str, figures: Mapping[str, float]) -> str:
    most = max(figures.values())
    lines = [title, ""]
    for name, figure in figures.items():
        bar = "█" * max(1, round(_WIDTH * figure / most))
        labelled = f"{name} {VERSIONS[name]}" if name in VERSIONS else name
        lines.append(f"{labelled:<22}{bar} {figure:,.0f}")
    return "\n".join([*lines, ""])


def _write(text: str) -> None:
    readme = PROJECT / "README.rst"
    head, begin, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{readme} has lost the comments between which the bars stand")
    indented = "\n".join(f"    {line}" if line else "" for line in text.rstrip().splitlines())
    readme.write_text(f"{head}{begin}\n::\n\n{indented}\n\n{end}{tail}", encoding="utf-8")


def _install(folder: Path, package: str) -> Path:
    """Return the folder of the programs of ``package``, newly installed."""
    home = folder / package
    venv.create(home, with_pip=True)
    command = [str(home / "bin" / "pip"), "install", "--quiet", f"{package}=={VERSIONS[package]}"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return home / "bin"


def _start(folder: Path, name: str, port: int, path: str, command: Sequence[str]) -> Peer:
    server = Server.start(list(command), folder / f"{name}.out")
    server.wait_until(lambda: accepts(port))
    return Peer(name, f"http://127.0.0.1:{port}{path}", server)


def _start_devpi(folder: Path, upstream: str) -> Peer:
    programs, port, serverdir = _install(folder, "devpi-server"), free_port(), str(folder / "devpi")
    init = [str(programs / "devpi-init"), "--serverdir", serverdir, "--root-passwd", "measured", "--no-root-pypi"]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = [str(programs / "devpi-server"), "--serverdir", serverdir, "--host", "127.0.0.1", "--port", str(port)]
    peer = _start(folder, "devpi-server", port, "/root/pypi/+simple/", run)
    base = f"http://127.0.0.1:{port}"
    login = _send(f"{base}/+login", "POST", {"user": "root", "password": "measured"})
    token = base64.b64encode(f"root:{login['result']['password']}".encode()).decode()
    config = {"type": "mirror", "mirror_url": upstream, "volatile": False}
    _send(f"{base}/root/pypi", "PUT", config, {"X-Devpi-Auth": token})
    return peer


def _start_pypiron(folder: Path, upstream: str) -> Peer:
    programs, port = _install(folder, "pypiron"), free_port()
    reach = ["--proxy-upstream", upstream, "--allow-insecure-upstream", "--proxy-allow-cidr", "127.0.0.0/8"]
    limits = ["--advisory-feed", "", "--exclude-newer", ""]
    accounts = ["--uploader-user", "u", "--uploader-pass", "p", "--admin-user", "a", "--admin-pass", "q"]
    where = ["--data-dir", str(folder / "pypiron-data"), "--bind-addr", f"127.0.0.1:{port}"]
    return _start(folder, "pypiron", port, "/simple/", [str(programs / "pypiron"), "serve", *where, *reach, *limits, *accounts])


def _start_proxpi(folder: Path, upstream: str) -> Peer:
    programs, port = _install(folder, "proxpi"), free_port()
    subprocess.run([str(programs / "pip"), "install", "--quiet", "gunicorn==23.0.0"], check=True, stdout=sys.stderr)
    settings = ["--env", f"PROXPI_INDEX_URL={upstream}", "--env", f"PROXPI_CACHE_DIR={folder / 'proxpi-data'}"]
    run = [str(programs / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--threads", "4", *settings, "proxpi.server:app"]
    return _start(folder, "proxpi", port, "/index/", run)


def _send(
    url: str, method: str, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        result: dict[str, dict[str, str]] = json.load(answer)
        return result


_START: Mapping[str, Callable[[Path, str], Peer]] = {
    "devpi-server": _start_devpi,
    "pypiron": _start_pypiron,
    "proxpi": _start_proxpi,
}

if __name__ == "__main__":
    sys.exit(main())
