"""Releases that are yanked, archived and attested: what publishers and installers make of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.distributions import wheel_of
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.live.installers import Installer, Pip
from tests.live.installers import Uv as UvInstaller
from tests.live.projects import NAME, write_project
from tests.live.publishers import Twine, Uv
from tests.live.stages import PASSWORD, Stage, fetch, start_with_stage
from tests.live.test_live_commands import ask, twistpi
from tests.rules.test_rules_attestations import attestation, statement


def publish(folder: Path, stage: Stage, *versions: str) -> None:
    """Upload wheels.  Blocking."""
    project = write_project(folder / NAME)
    for version in versions:
        wheel_of(NAME, version).write(project / "dist")
    done = Twine().publish(project, stage)
    assert done.status == 0, done.told


def installed(installer: Installer, folder: Path, stage: Stage, requirement: str) -> str:
    """The version that came.  Blocking."""
    python = installer.install(folder, stage.simple, requirement)
    script = f"import {NAME}; print({NAME}.VERSION)"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("installer", [Pip("pip"), UvInstaller()], ids=["pip", "uv"])
@in_reactor
async def test_a_yanked_release_is_installed_by_whoever_insists_only(installer: Installer, stage: Stage, tmp_path: Path) -> None:
    def yank_and_install() -> None:
        server = stage.server
        publish(tmp_path, stage, "1.0", "2.0")
        assert installed(installer, tmp_path / "before", stage, NAME) == "2.0"
        told = twistpi(server, "yank", "--reason", "it bites", stage.name, NAME, "2.0")
        assert told == f"{NAME} 2.0 on {stage.name}: yanked.\n"
        assert [file.get("yanked") for file in stage.page(NAME)["files"]] == [None, "it bites"]
        assert installed(installer, tmp_path / "yanked", stage, NAME) == "1.0"
        assert installed(installer, tmp_path / "insisting", stage, f"{NAME}==2.0") == "2.0"
        file = wheel_of(NAME, "2.0").filename
        told = twistpi(server, "yank", "--undo", stage.name, NAME, "2.0", file)
        assert told == f"{file} on {stage.name}: not yanked any more.\n"
        assert installed(installer, tmp_path / "after", stage, NAME) == "2.0"

    await deferToThread(yank_and_install)


@in_reactor
async def test_R90_an_archived_project_takes_no_upload_but_is_installed(stage: Stage, tmp_path: Path) -> None:
    def archive() -> None:
        server, login = stage.server, f"{stage.user}:{PASSWORD}"
        publish(tmp_path, stage, "1.0")
        status = {"status": "archived", "reason": "see newpkg"}
        assert ask(server, "PUT", f"/{stage.name}/{NAME}/+status", status, login)[0] == 200
        project = write_project(tmp_path / NAME)
        wheel_of(NAME, "1.1").write(project / "dist")
        refused = Twine().publish(project, stage)
        assert refused.status == 1
        assert "403 Forbidden" in refused.text
        assert "archived" in refused.text
        assert installed(Pip("pip"), tmp_path / "pip", stage, NAME) == "1.0"
        status["status"] = "active"
        assert ask(server, "PUT", f"/{stage.name}/{NAME}/+status", status, login)[0] == 200
        publish(tmp_path, stage, "1.1")

    await deferToThread(archive)


@in_reactor
async def test_attestations_that_uv_finds_beside_a_wheel_are_kept_and_served(
    server: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    def publish_attested() -> None:
        stage = start_with_stage(server, upstream, "--outside-url", "https://packages.example")
        project = write_project(tmp_path / NAME)
        wheel = wheel_of(NAME, "1.0")
        made = attestation(statement(wheel.filename, wheel.sha256))
        beside = wheel.write(project / "dist").with_name(f"{wheel.filename}.publish.attestation")
        beside.write_text(json.dumps(made))
        done = Uv().publish(project, stage)
        assert done.status == 0, done.told
        (file,) = stage.page(NAME)["files"]
        path = f"/{stage.name}/{wheel.path}.provenance"
        assert file["provenance"] == f"https://packages.example{path}"
        provenance = json.loads(fetch(f"{server.url}{path}"))
        assert [bundle["attestations"] for bundle in provenance["attestation_bundles"]] == [[made]]

    await deferToThread(publish_attested)
