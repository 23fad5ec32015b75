"""What real installers make of files that a policy does not offer: on pages, by address, and with a lock made before."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.distributions import wheel_of
from tests.in_reactor import in_reactor
from tests.live.installers import Installer, Pip, Poetry, Uv, new_environment, program, run
from tests.live.projects import NAME
from tests.live.stages import Stage
from tests.live.test_live_commands import twistpi
from tests.live.test_live_marks import installed, publish

REASON = "it steals passwords"


@pytest.mark.parametrize("installer", [Pip("pip"), Uv()], ids=["pip", "uv"])
@in_reactor
async def test_a_refused_version_falls_back_on_the_page_and_installers_show_the_reason_for_its_address(
    installer: Installer, stage: Stage, tmp_path: Path
) -> None:
    def install() -> None:
        publish(tmp_path, stage, "1.0", "1.5", "2.0")
        twistpi(stage.server, "yank", "--reason", "it bites", stage.name, NAME, "1.5")
        address = next(file["url"] for file in stage.page(NAME)["files"] if file["filename"] == wheel_of(NAME, "2.0").filename)
        locked = f"{NAME} @ {stage.simple}{NAME}/{address}"
        twistpi(stage.server, "quarantine", "--reason", REASON, stage.name, f"{NAME}==2.0")
        assert installed(installer, tmp_path / "fallback", stage, NAME) == "1.0", "what is yanked is no fallback"
        with pytest.raises(AssertionError) as failed:
            installer.install(tmp_path / "locked", stage.simple, locked)
        assert f"{NAME}==2.0 is in quarantine, {REASON}" in str(failed.value)
        twistpi(stage.server, "release", stage.name, f"{NAME}==2.0")
        assert installed(installer, tmp_path / "released", stage, NAME) == "2.0"

    await deferToThread(install)


@in_reactor
async def test_poetry_does_not_find_what_its_lock_file_names(stage: Stage, tmp_path: Path) -> None:
    def install() -> None:
        publish(tmp_path, stage, "1.0")
        Poetry().resolve(tmp_path / "locked", stage.simple, NAME)
        twistpi(stage.server, "quarantine", "--reason", REASON, stage.name, NAME)
        with pytest.raises(AssertionError) as failed:
            run([program("poetry"), "install", "--no-interaction", "--no-root"], tmp_path / "locked" / "home")
        assert f"Unable to find installation candidates for {NAME} (1.0)" in str(failed.value)

    await deferToThread(install)


@in_reactor
async def test_locks_of_pip_and_uv_do_not_get_what_a_rule_holds_back_since_they_were_made(stage: Stage, tmp_path: Path) -> None:
    def install() -> None:
        """``pylock.toml`` has addresses, ``requirements.txt`` digests; the project comes from the mirror."""
        project, pip = tmp_path / "locked" / "home", Pip("pip")
        project.mkdir(parents=True)
        (project / "pyproject.toml").write_text(
            '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["flit-core"]\n'
        )
        uv = [program("uv"), "--cache-dir", str(tmp_path / "uv-cache")]
        run([*uv, "lock", "--default-index", stage.simple], project)
        (file,) = stage.page("flit-core")["files"]
        requirements = tmp_path / "requirements.txt"
        requirements.write_text(f"flit-core=={file['filename'].split('-')[1]} --hash=sha256:{file['hashes']['sha256']}\n")
        words = ("lock", "--output", str(tmp_path / "pylock.toml"), "--index-url", stage.simple, "flit-core")
        run(pip.command(new_environment(tmp_path / "new"), *words), project, PYTHONPATH=str(pip.home()))
        twistpi(stage.server, "policy", "set", "root/pypi", "deny", "flit-core")
        with pytest.raises(AssertionError, match=r"by the rule deny of root/pypi: flit-core is denied"):
            run([*uv, "sync", "--frozen", "--no-install-project", "--default-index", stage.simple], project)
        with pytest.raises(AssertionError, match="No matching distribution found for flit-core"):
            pip.install(tmp_path / "digests", stage.simple, "--require-hashes", "-r", str(requirements))
        with pytest.raises(AssertionError, match=r"by the rule deny of root/pypi: flit-core is denied"):
            pip.install(tmp_path / "addresses", stage.simple, "-r", str(tmp_path / "pylock.toml"))

    await deferToThread(install)
