"""The programs that people publish with, unchanged from their defaults, against a real server; then real installers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest
from packaging.requirements import Requirement
from twisted.internet.threads import deferToThread

from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip
from tests.live.installers import Uv as UvInstaller
from tests.live.projects import NAME, SUMMARY, VERSION, write_project
from tests.live.publishers import PUBLISHERS, Hatch, Poetry, Publisher, Twine, Uv
from tests.live.stages import Stage, digests_of, fetch
from tests.live.test_live_commands import twistpi

WHEEL = wheel_name(NAME, VERSION)
SDIST = f"{NAME}-{VERSION}.tar.gz"
KEPT = f"{WHEEL} already exists in non-volatile index"
each_publisher = pytest.mark.parametrize("publisher", PUBLISHERS, ids=lambda publisher: publisher.name)


def built(publisher: Publisher, stage: Stage, folder: Path) -> Path:
    """A project whose folder ``dist`` is full.  Blocking."""
    project = write_project(folder / NAME, publisher.backend)
    done = publisher.build(project, stage)
    assert done.status == 0, done.told
    assert set(digests_of(project / "dist")) == {WHEEL, SDIST}
    return project


def published(publisher: Publisher, project: Path, stage: Stage, *words: str) -> str:
    """What the program said of its success.  Blocking."""
    done = publisher.publish(project, stage, *words)
    assert done.status == 0, done.told
    return done.text


def refused(publisher: Publisher, project: Path, stage: Stage, *words: str) -> str:
    """What the program said of its failure.  Blocking."""
    done = publisher.publish(project, stage, *words)
    assert done.status != 0, done.told
    return done.text


def versions_in(python: Path) -> str:
    """What is installed there says its version, and that of what it needs.  Blocking."""
    script = "import mypkg; print(mypkg.VERSION, mypkg.GREETING)"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@each_publisher
@in_reactor
async def test_R75_a_wheel_and_an_sdist_are_published_and_installed_with_what_the_mirror_has(
    publisher: Publisher, stage: Stage, tmp_path: Path
) -> None:
    await deferToThread(_publish_and_install, publisher, stage, tmp_path)


def _publish_and_install(publisher: Publisher, stage: Stage, folder: Path) -> None:
    project = built(publisher, stage, folder)
    published(publisher, project, stage)
    assert stage.digests(NAME) == digests_of(project / "dist")
    _is_complete(stage)
    before = stage.serial()
    published(publisher, project, stage)
    assert stage.serial() == before, "the same bytes again are no news"
    assert versions_in(Pip("pip").install(folder / "pip", stage.simple, NAME)) == "1.0 1.0"
    assert versions_in(UvInstaller().install(folder / "uv", stage.simple, NAME)) == "1.0 1.0"


def _is_complete(stage: Stage) -> None:
    """The page and the release say all that the distributions say of themselves."""
    for file in stage.page(NAME)["files"]:
        assert file["requires-python"] == ">=3.11"
        assert isinstance(file["size"], int)
        assert file["upload-time"].endswith("Z")
        assert bool(file.get("core-metadata")) == file["filename"].endswith(".whl")
    found: dict[str, Any] = stage.version(NAME, VERSION)
    assert (found["name"], found["summary"], found["requires_python"]) == (NAME, SUMMARY, ">=3.11")
    assert Requirement("hello>=1") in [Requirement(text) for text in found["requires_dist"]]
    assert found["provides_extras"] == ["loud"]
    assert found["license_expression"] == "MIT"
    assert found["keywords"].replace(" ", "") == "index,release"
    assert "Says hello." in found["description"]
    logs = [link["log"] for link in found["+links"]]
    assert [(log[0]["what"], log[0]["who"], log[0]["dst"]) for log in logs] == [("upload", stage.user, stage.name)] * 2


@in_reactor
async def test_an_sdist_is_built_with_a_backend_that_the_mirror_has(stage: Stage, tmp_path: Path) -> None:
    def upload_and_install() -> None:
        project = built(Twine(), stage, tmp_path)
        (project / "dist" / WHEEL).unlink()
        published(Twine(), project, stage)
        assert versions_in(Pip("pip").install(tmp_path / "pip", stage.simple, NAME)) == "1.0 1.0"

    await deferToThread(upload_and_install)


def with_dist(folder: Path, publisher: Publisher, payload: bytes = b"") -> Path:
    """A project with a wheel that nobody had to build.  Blocking."""
    project = write_project(folder / NAME, publisher.backend)
    shutil.rmtree(project / "dist", ignore_errors=True)
    (project / "dist").mkdir()
    (project / "dist" / WHEEL).write_bytes(make_wheel(NAME, VERSION, ["hello>=1"], payload))
    return project


REFUSED = {
    "twine": f"ERROR HTTPError: 409 Conflict from {{url}} {KEPT}",
    "uv": f"Server returned status code 409 Conflict. Server says: 409 {KEPT}",
    "poetry": f"HTTP Error 409: {KEPT}",
    "pdm": "[PublishError]: Client error '409 Conflict' for url",
}
"""What they say of a file that is there with other bytes; hatch does not try, flit builds before."""


@pytest.mark.parametrize("publisher", PUBLISHERS[:4], ids=lambda publisher: publisher.name)
@in_reactor
async def test_R81_other_bytes_replace_on_a_volatile_index_and_are_refused_in_words_or_skipped_on_another(
    publisher: Publisher, stage: Stage, tmp_path: Path
) -> None:
    def publish() -> None:
        final = stage.beside("prod", volatile=False)
        first = digests_of(with_dist(tmp_path, publisher) / "dist")
        for target in (stage, final):
            published(publisher, tmp_path / NAME, target)
        project = with_dist(tmp_path, publisher, b"other bytes")
        published(publisher, project, stage)
        assert stage.digests(NAME) == digests_of(project / "dist") != first
        before = stage.serial()
        assert REFUSED[publisher.name].format(url=final.url) in refused(publisher, project, final)
        if publisher.name in ("poetry", "pdm"):
            published(publisher, project, final, "--skip-existing")
        assert (final.digests(NAME), final.serial()) == (first, before)

    await deferToThread(publish)


@in_reactor
async def test_R94_hatch_leaves_out_what_it_finds_below_the_url_for_uploads(stage: Stage, tmp_path: Path) -> None:
    def publish() -> None:
        final = stage.beside("prod", volatile=False, acl_read=stage.user)
        assert f"{WHEEL} ... success" in published(Hatch(), with_dist(tmp_path, Hatch()), final)
        project = with_dist(tmp_path, Hatch(), b"other bytes")
        (project / "dist" / wheel_name(NAME, "2.0")).write_bytes(make_wheel(NAME, "2.0"))
        told = published(Hatch(), project, final)
        assert f"{WHEEL} ... already exists" in told
        assert f"{wheel_name(NAME, '2.0')} ... success" in told

    await deferToThread(publish)


@in_reactor
async def test_R82_uv_looks_before_it_uploads(stage: Stage, tmp_path: Path) -> None:
    def publish() -> None:
        looking = ("--check-url", stage.simple)
        project = with_dist(tmp_path, Uv())
        published(Uv(), project, stage, *looking)
        assert f"File {WHEEL} already exists, skipping" in published(Uv(), project, stage, *looking)
        assert "Local file and index file do not match" in refused(Uv(), with_dist(tmp_path, Uv(), b"other"), stage, *looking)
        assert (stage.server.log.parent / "access.log").read_text().count(f'"POST /{stage.name}/ ') == 1

    await deferToThread(publish)


@in_reactor
async def test_a_refusal_says_why_in_the_words_of_each_program(stage: Stage, tmp_path: Path) -> None:
    def publish() -> None:
        big = with_dist(tmp_path / "big", Twine(), bytes(200_000))
        project = with_dist(tmp_path, Twine())
        foreign = stage.beside("closed", acl_upload="root")
        for publisher in (Twine(), Uv(), Poetry()):
            assert "401" in refused(publisher, project, attrs.evolve(stage, password="wrong")), publisher
            assert "no permission to submit" in refused(publisher, project, foreign), publisher
            assert "100000" in refused(publisher, big, stage), publisher
        assert stage.digests(NAME) == {}
        assert list((stage.server.serverdir / "incoming").iterdir()) == []

    await deferToThread(publish)


@in_reactor
async def test_a_token_that_may_only_upload_one_project_does(stage: Stage, tmp_path: Path) -> None:
    def publish() -> None:
        closed = stage.beside("closed", acl_read=stage.user)
        words = ("token", "create", "--user", stage.user, "--may", "upload", "--index", closed.name, "--project", NAME)
        token = twistpi(stage.server, *words).strip()
        project = with_dist(tmp_path, Twine())
        (project / "dist" / wheel_name("other", "1.0")).write_bytes(make_wheel("other", "1.0"))
        holder = attrs.evolve(closed, login="__token__", password=token)
        for publisher in (Twine(), Uv()):
            told = refused(publisher, project, holder)
            assert wheel_name("other", "1.0") in told
            assert "403 Forbidden" in told
        (link,) = closed.version(NAME, VERSION)["+links"]
        assert fetch(link["href"], user=stage.user) == (project / "dist" / WHEEL).read_bytes()

    await deferToThread(publish)
