"""pip, uv and poetry install through a real server, and again when its upstream is gone."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Installer, Pip, Poetry, Uv
from tests.live.stages import JSON, fetch
from tests.live.test_live_commands import CHEAP, ask

NOW = [Pip("pip"), Pip("pip==23.2.1"), Uv(), Poetry()]
RESOLVING: list[Installer] = [Pip("pip"), Uv(), Poetry()]
"""What can resolve without installing."""
EARLIER_PIPS = [Pip("pip==22.3.1"), Pip("pip==23.0.1"), Pip("pip==23.1.2")]
"""They know only the name that core metadata had before PEP 714, and so take wheels to look into."""
GONE = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
"""The environment of a server whose way to the network is closed."""
PAYLOAD = os.urandom(2_000_000)
PROJECTS: dict[str, dict[str, list[str]]] = {
    "app": {"1.0": ["lib-one>=1", "lib.two"], "2.0": ["lib-one>=3"]},
    "lib-one": {"1.0": [], "2.0": []},
    "lib-two": {"1.0": ["lib-one<2"]},
}
"""Version 2.0 of app cannot be installed; 1.0 can, with version 1.0 of lib-one: installers have to look into much metadata."""


def _fill(upstream: FakeUpstream, *, announce_metadata: bool) -> None:
    for project, versions in PROJECTS.items():
        wheels = {
            wheel_name(project, version): make_wheel(project, version, needs, PAYLOAD) for version, needs in versions.items()
        }
        announced = {wheel_name(project, version): metadata(project, version, needs) for version, needs in versions.items()}
        upstream.add_project(project, wheels, metadata=announced if announce_metadata else None)


def _wheel_requests(upstream: FakeUpstream, *, whole: bool) -> list[str]:
    """The wheels that were asked for, as a whole or in part."""
    seen = [request for request in upstream.seen if request.path.endswith(".whl") and request.method == "GET"]
    return sorted(request.path.rpartition("/")[2] for request in seen if (request.header("range") is None) == whole)


async def _installed(installer: Installer, folder: Path, server: LiveServer, *requirements: str) -> None:
    python = await deferToThread(installer.install, folder, server.simple, *requirements)
    script = "import app, lib_one, lib_two; print(app.VERSION, lib_one.VERSION, lib_two.VERSION)"
    found = await deferToThread(subprocess.run, [str(python), "-c", script], capture_output=True, text=True)
    assert found.stdout == "1.0 1.0 1.0\n", found.stderr


async def _install(installer: Installer, folder: Path, server: LiveServer, upstream: FakeUpstream) -> list[str]:
    """Install in a fresh environment; the wheels that the upstream gave."""
    _fill(upstream, announce_metadata=True)
    await deferToThread(server.start, "--upstream", upstream.index_url)
    await _installed(installer, folder / "first", server, "app")
    return _wheel_requests(upstream, whole=True)


@pytest.mark.parametrize("installer", NOW, ids=str)
@in_reactor
async def test_an_installer_installs_and_again_without_the_upstream(
    installer: Installer, tmp_path: Path, server: LiveServer, upstream: FakeUpstream
) -> None:
    taken = await _install(installer, tmp_path, server, upstream)
    assert taken == sorted(wheel_name(name, "1.0") for name in PROJECTS), "each wheel once, and no other"
    await upstream.stop()
    await _installed(installer, tmp_path / "second", server, "app")


@pytest.mark.parametrize("installer", EARLIER_PIPS, ids=str)
@in_reactor
async def test_R32_earlier_pips_install_from_pages_with_core_metadata(
    installer: Installer, tmp_path: Path, server: LiveServer, upstream: FakeUpstream
) -> None:
    taken = await _install(installer, tmp_path, server, upstream)
    assert len(taken) == len(set(taken)), "no wheel twice"


@pytest.mark.parametrize("announced", [True, False], ids=["upstream has metadata files", "upstream has none"])
@in_reactor
async def test_no_wheel_is_fetched_to_learn_its_dependencies(
    announced: bool, tmp_path: Path, server: LiveServer, upstream: FakeUpstream
) -> None:
    _fill(upstream, announce_metadata=announced)
    await deferToThread(server.start, "--no-root-pypi", environment=CHEAP)
    for installer in RESOLVING:
        name = type(installer).__name__.lower()
        config = {"type": "mirror", "mirror_url": upstream.index_url}
        assert (await deferToThread(ask, server, "PUT", f"/root/{name}", config, "root:"))[0] == 200
        told = await deferToThread(installer.resolve, tmp_path / name, f"{server.url}/root/{name}/+simple/", "app")
        assert "1.0" in told
        assert "lib" in told
        assert _wheel_requests(upstream, whole=True) == []
        if announced:
            assert _wheel_requests(upstream, whole=False) == []


@in_reactor
async def test_wheels_in_a_folder_are_installed_and_again_without_it(
    tmp_path: Path, server: LiveServer, other: LiveServer
) -> None:
    folder, away = tmp_path / "wheels", tmp_path / "away"
    folder.mkdir()
    for project, versions in PROJECTS.items():
        for version, needs in versions.items():
            (folder / wheel_name(project, version)).write_bytes(make_wheel(project, version, needs, PAYLOAD))
    named = ("--local-folders", str(folder))
    await deferToThread(server.start, "--no-root-pypi", *named, environment=CHEAP)
    config = {"type": "mirror", "mirror_url": folder.as_uri()}
    assert (await deferToThread(ask, server, "PUT", "/root/pypi", config, "root:"))[0] == 200
    secret = ("--secretfile", str(server.serverdir / "secret"))
    await deferToThread(other.start, "--primary-url", server.url, "--replicate-files", "on-demand", *secret, *named)
    await _installed(Pip("pip"), tmp_path / "pip", server, "app")
    folder.rename(away)
    await _installed(Uv(), tmp_path / "uv", server, "app")
    await _installed(Uv(), tmp_path / "replica", other, "app")
    page = await deferToThread(fetch, f"{other.simple}app/", JSON)
    unread = next(file["url"] for file in json.loads(page)["files"] if file["filename"] == wheel_name("app", "2.0"))
    away.rename(folder)
    await deferToThread(server.end)
    with pytest.raises(urllib.error.HTTPError, match="503"):  # the folder is there, but a replica does not look
        await deferToThread(fetch, urllib.parse.urljoin(f"{other.simple}app/", unread))


@in_reactor
async def test_the_public_index_is_mirrored_and_served_on_when_the_network_is_gone(tmp_path: Path, server: LiveServer) -> None:
    await deferToThread(server.start)
    script = "import six, iniconfig; print(six.__version__)"
    installer = Pip("pip")
    for folder, options in (
        ("first", {}),
        ("second", {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}),
    ):
        if options:
            assert await deferToThread(server.end) is not None
            await deferToThread(server.start, environment=options)
        python = await deferToThread(installer.install, tmp_path / folder, server.simple, "six==1.16.0", "iniconfig==2.0.0")
        found = await deferToThread(subprocess.run, [str(python), "-c", script], capture_output=True, text=True)
        assert found.stdout == "1.16.0\n", found.stderr
    with pytest.raises(urllib.error.HTTPError, match=r"HTTP Error 50[23]"):
        await deferToThread(urllib.request.urlopen, f"{server.simple}idna/", timeout=60)
