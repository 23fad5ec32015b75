"""Programs that read more than simple pages: pip-tools, pipenv and Renovate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live import node
from tests.live.installers import kept_program, run
from tests.live.programs import run_program, tools_environment
from tests.live.stages import Stage, start_with_stage

PIP_TOOLS = [("pip-tools==7.6.2", "pip==26.3"), ("pip-tools==7.4.1", "pip==24.0")]
"""Today's asks at other addresses than those before, and takes digests by the URLs of files."""
PIPENV = "pipenv==2026.10.3"
RENOVATE = "renovate@44.121.2"
TOOL, LIB = wheel_name("tool", "1.1"), wheel_name("lib", "1.0")
OTHERS = ("tool-1.1-cp39-cp39-win_amd64.whl", "tool-1.1.tar.gz")
RELEASED = {"tool-1.0-py3-none-any.whl": "2026-01-02T03:04:05.000000Z", TOOL: "2026-03-04T05:06:07.000000Z"}


def _stage(server: LiveServer, upstream: FakeUpstream, folder: Path) -> Stage:
    """An index that inherits ``tool``, of which version 1.1 has three files, and ``lib``, which it needs.  Blocking."""
    needed = metadata("tool", "1.1", ["lib"])
    files = {name: make_wheel("tool", name.split("-")[1], ["lib"]) for name in RELEASED}
    files |= {OTHERS[0]: make_wheel("tool", "1.1", ["lib"], b"for Windows"), OTHERS[1]: b"the source"}
    times = {name: {"upload-time": time} for name, time in RELEASED.items()}
    upstream.add_project("tool", files, metadata={TOOL: needed, OTHERS[0]: needed}, extra=times)
    upstream.add_project("lib", {LIB: make_wheel("lib", "1.0")}, metadata={LIB: metadata("lib", "1.0")})
    return start_with_stage(server, upstream, "--access-log", str(folder / "access.log"))


def _asked(folder: Path) -> list[str]:
    """The paths that the server was asked for."""
    return re.findall(r'"GET (\S+) HTTP/1', (folder / "access.log").read_text())


@pytest.mark.parametrize("requirements", PIP_TOOLS, ids=lambda requirements: requirements[0])
@in_reactor
async def test_pip_compile_learns_all_digests_without_the_files_with_a_slash_behind_the_address_or_without(
    requirements: tuple[str, ...], tmp_path: Path, server: LiveServer, upstream: FakeUpstream
) -> None:
    stage = await deferToThread(_stage, server, upstream, tmp_path)
    python = str(await deferToThread(kept_program, *requirements))
    pages = [await deferToThread(stage.digests, project) for project in ("tool", "lib")]
    expected = {digest for page in pages for name, digest in page.items() if "1.0-py3" not in name or name == LIB}
    for slash in ("", "/"):
        home, before = tmp_path / f"home{len(slash)}", len(_asked(tmp_path))
        home.mkdir()
        (home / "requirements.in").write_text("tool")
        where = ["--index-url", f"{stage.simple.rstrip('/')}{slash}", "--cache-dir", str(home / "cache")]
        words = ["--generate-hashes", "--strip-extras", *where, "requirements.in"]
        await deferToThread(run, [python, "-m", "piptools", "compile", *words], home)
        locked = (home / "requirements.txt").read_text()
        assert set(re.findall("sha256:([0-9a-f]{64})", locked)) == expected
        assert "tool==1.1" in locked
        asked = _asked(tmp_path)[before:]
        assert any(path.endswith("/tool/json") for path in asked)
        assert [path for path in asked if path.endswith(OTHERS)] == []
        assert max(sum(path.endswith(name) for path in asked) for name in (TOOL, LIB)) <= 1, "what it resolves with"


@in_reactor
async def test_pipenv_locks(tmp_path: Path, server: LiveServer, upstream: FakeUpstream) -> None:
    stage = await deferToThread(_stage, server, upstream, tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    source = f'[[source]]\nname = "here"\nurl = "{stage.simple}"\nverify_ssl = false\n'
    (home / "Pipfile").write_text(f'{source}\n[packages]\ntool = "*"\n')
    python = str(await deferToThread(kept_program, PIPENV))
    await deferToThread(run, [python, "-m", "pipenv", "lock"], home, PIPENV_VENV_IN_PROJECT="1", PIPENV_IGNORE_VIRTUALENVS="1")
    locked = json.loads((home / "Pipfile.lock").read_text())["default"]
    found = await deferToThread(stage.digests, "tool")
    assert (locked["tool"]["version"], locked["lib"]["version"]) == ("==1.1", "==1.0")
    assert set(locked["tool"]["hashes"]) == {f"sha256:{found[name]}" for name in (TOOL, *OTHERS)}
    assert [path for path in _asked(tmp_path) if path.endswith((TOOL, LIB, *OTHERS))] == []


@in_reactor
async def test_renovate_sees_versions_and_the_days_of_their_releases(
    tmp_path: Path, server: LiveServer, upstream: FakeUpstream
) -> None:
    stage = await deferToThread(_stage, server, upstream, tmp_path)
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.txt").write_text("tool==1.0\n")
    rule = {"matchDatasources": ["pypi"], "registryUrls": [stage.url]}
    (project / "renovate.json").write_text(json.dumps({"packageRules": [rule]}))

    def look_up() -> str:
        program = node.node_packages(RENOVATE) / "renovate" / "dist" / "renovate.js"
        environment = node.environment(tools_environment(tmp_path / "home"))
        run_program(["git", "init", "--quiet"], project, environment)
        run_program(["git", "add", "."], project, environment)
        words = ["--platform=local", "--dry-run=lookup", "--onboarding=false"]
        logged = {"LOG_LEVEL": "debug", "LOG_FORMAT": "json"}
        return run_program([str(node.node()), str(program), *words], project, {**environment, **logged}).told

    told = await deferToThread(look_up)
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    found: list[Any] = [line["config"] for line in lines if line["msg"] == "packageFiles with updates"]
    assert found, told
    [dependency] = found[0]["pip_requirements"][0]["deps"]
    assert dependency["currentVersionTimestamp"] == "2026-01-02T03:04:05.000Z"
    [update] = dependency["updates"]
    assert (update["newVersion"], update["releaseTimestamp"]) == ("1.1", "2026-03-04T05:06:07.000Z")
