"""The real devpi client with releases: upload, list, document, push, remove; what each command says, and what is there then."""

from __future__ import annotations

import io
import subprocess
import urllib.error
import zipfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.live.devpi_client import DevpiClient, Step
from tests.live.installers import new_environment
from tests.live.programs import Done
from tests.live.projects import NAME, SUMMARY, write_project
from tests.live.stages import PASSWORD, Stage, fetch, fill, make_stage, start_with_stage
from tests.live.test_live_commands import CHEAP

DEV = "jonathan/dev"
PROD = "jonathan/prod"
YES = "Are you sure (yes/no)? yes (autoset from -y option)"


async def start(server: LiveServer, upstream: FakeUpstream, step: Step) -> tuple[Stage, Stage]:
    """A volatile index and one that is not; the client is logged in and uses the first."""
    stage: Stage = await deferToThread(start_with_stage, server, upstream)
    final: Stage = await deferToThread(stage.beside, "prod", volatile=False)
    await step("use", server.url)
    await step("login", "jonathan", "--password", PASSWORD)
    await step("use", "--set-cfg", DEV)
    return stage, final


def link(stage: Stage, file: Distribution) -> str:
    """Where the file is."""
    return f"{stage.url}{file.path}"


def doc_zip(folder: Path, version: str, text: str) -> Path:
    """Documentation of a release, as the client wants it to be called.  Blocking."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.html", f"<h1>{text}</h1>")
    folder.mkdir(exist_ok=True)
    path = folder / f"{NAME}-{version}.doc.zip"
    path.write_bytes(packed.getvalue())
    return path


def in_git(project: Path) -> Path:
    """Commit everything in ``project``.  Blocking."""
    who = ["-c", "user.email=jon@example.com", "-c", "user.name=Jonathan"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
        subprocess.run(["git", "-C", str(project), *who, *words], check=True)
    return project


@in_reactor
async def test_a_project_is_built_uploaded_listed_and_installed(
    server: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step, tmp_path: Path
) -> None:
    fill(upstream)
    stage, _ = await start(server, upstream, step)
    project = in_git(write_project(tmp_path / NAME))
    (project / "MANIFEST.in").write_text("include secret.txt\n")
    (project / "secret.txt").write_text("not for git\n")
    wheel, sdist = f"{NAME}-1.0-py3-none-any.whl", f"{NAME}-1.0.tar.gz"
    uploaded = [f"file_upload of {name} to {stage.url}" for name in (wheel, sdist)]
    assert (await step("upload", folder=project)).lines[-2:] == uploaded
    first = await deferToThread(stage.digests, NAME)
    assert sorted(first) == [wheel, sdist]
    assert (await step("upload", "--no-vcs", "--sdist", folder=project)).lines[-1:] == uploaded[1:]
    second = await deferToThread(stage.digests, NAME)
    assert first[wheel] == second[wheel]
    assert first[sdist] != second[sdist], "with what git has not"
    files = {name: f"{stage.url}+f/{digest[:3]}/{digest[3:16]}/{name}" for name, digest in second.items()}
    assert sorted((await step("list", NAME)).lines) == sorted(files.values())
    assert (await step("list")).lines == [NAME]
    assert (await step("list", "-v")).lines == [f"{NAME}==1.0"]
    release = (await deferToThread(devpi.getjson, f"{NAME}/1.0"))["result"]
    assert (release["name"], release["summary"]) == (NAME, SUMMARY)
    what = {link["href"]: [log["what"] for log in link["log"]] for link in release["+links"]}
    assert what == {files[wheel]: ["upload"], files[sdist]: ["overwrite", "upload"]}
    assert (await deferToThread(_installed, devpi, "pip")) == "1.0 1.0\n"
    assert (await deferToThread(_installed, devpi, "uv")) == "1.0 1.0\n"
    assert "Traceback" not in server.told()


def _installed(devpi: DevpiClient, installer: str) -> str:
    """What is imported after a plain ``install mypkg``, the index being what ``--set-cfg`` wrote.  Blocking."""
    python = new_environment(devpi.home / installer)
    done = (devpi.pip if installer == "pip" else devpi.uv)(python, "install", NAME)
    assert done.status == 0, done.told
    script = f"import {NAME}; print({NAME}.VERSION, {NAME}.GREETING)"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout


@in_reactor
async def test_the_same_version_again_is_replaced_on_a_volatile_index_and_refused_on_another(
    server: LiveServer, upstream: FakeUpstream, step: Step, tmp_path: Path
) -> None:
    stage, final = await start(server, upstream, step)
    old, new = wheel_of(NAME, "1.0", b"old"), wheel_of(NAME, "1.0", b"new")
    first, second = str(old.write(tmp_path / "old")), str(new.write(tmp_path / "new"))
    for index in (DEV, PROD):
        for _ in range(2):
            await step("upload", "--index", index, first)
    assert (await step("upload", second)).lines[-1] == f"file_upload of {new.filename} to {stage.url}"
    assert await deferToThread(stage.digests, NAME) == {new.filename: new.sha256}
    with pytest.raises(urllib.error.HTTPError, match="410"):
        await deferToThread(fetch, link(stage, old))
    assert (await step("upload", "--index", PROD, second, status=1)).lines[-3:] == [
        f"409 FAIL file_upload of {new.filename} to {final.url}",
        f"{new.filename} already exists in non-volatile index",
        f"POST to {final.url} FAILED",
    ]
    assert await deferToThread(final.digests, NAME) == {old.filename: old.sha256}
    assert (await step("list", "--index", PROD, NAME)).lines == [link(final, old)]
    refused = await step("upload", "--index", "root/pypi", first, status=1)
    assert "cannot submit to mirror index" in refused.lines
    await step("use", "root/pypi")
    assert "does not support upload" in (await step("upload", first, status=1)).told


@in_reactor
async def test_a_folder_of_many_versions_is_uploaded_and_listed(
    server: LiveServer, upstream: FakeUpstream, step: Step, tmp_path: Path
) -> None:
    upstream.add_project(NAME, {wheel_of(NAME, "0.1").filename: wheel_of(NAME, "0.1").content})
    stage, _ = await start(server, upstream, step)
    versions = ["1.0", "1.1", "1.2", "1.9", "1.10"]
    files = {version: wheel_of(NAME, version) for version in versions}
    for file in files.values():
        file.write(tmp_path / "dist" / file.version)
    doc_zip(tmp_path / "dist", "1.10", "How to")
    refused = await step("upload", "dist", folder=tmp_path, status=1)
    assert "dist: is a directory but --from-dir not specified" in refused.told
    await step("upload", "--from-dir", "--only-latest", "dist", folder=tmp_path)
    assert (await step("list", NAME)).lines == [link(stage, files["1.10"])]
    assert len((await step("upload", "--from-dir", "dist", folder=tmp_path)).lines) >= len(versions) + 1
    # What the mirror has under that name is hidden.
    newest_first = [link(stage, files[version]) for version in reversed(versions)]
    assert (await step("list", "--all", NAME)).lines == newest_first
    assert (await step("list", NAME)).lines[:3] == newest_first[:3]
    assert (await step("list", f"{NAME}<1.2")).lines == newest_first[3:]


@in_reactor
async def test_documentation_is_built_uploaded_and_read(
    server: LiveServer, upstream: FakeUpstream, step: Step, tmp_path: Path
) -> None:
    fill(upstream)
    stage, _ = await start(server, upstream, step)
    project = write_project(tmp_path / NAME)
    told = await step("upload", "--no-vcs", "--wheel", "--with-docs", folder=project)
    assert told.lines[-1] == f"doc_upload of {NAME}-1.0.doc.zip to {stage.url}"
    assert sorted(await deferToThread(stage.digests, NAME)) == [f"{NAME}-1.0-py3-none-any.whl"]
    for version in ("1.0", "latest", "stable"):
        page = await deferToThread(fetch, f"{stage.url}{NAME}/{version}/+doc/index.html")
        assert b"How to say hello." in page
    (project / "docs" / "index.rst").write_text("mypkg\n=====\n\nHow to shout.\n")
    told = await step("upload", "--no-vcs", "--no-isolation", "--only-docs", folder=project)
    assert [line for line in told.lines if "_upload of" in line] == [f"doc_upload of {NAME}-1.0.doc.zip to {stage.url}"]
    assert b"How to shout." in await deferToThread(fetch, f"{stage.url}{NAME}/1.0/+doc/index.html")
    assert "Traceback" not in server.told()


def write_pypirc(devpi: DevpiClient, stage: Stage) -> None:
    """Tell the client of a repository called ``testrepo``.  Blocking."""
    section = f"[testrepo]\nrepository = {stage.url}\nusername = {stage.login}\npassword = {stage.password}\n"
    (devpi.home / ".pypirc").write_text(f"[distutils]\nindex-servers = testrepo\n\n{section}")


async def with_release(step: Step, folder: Path) -> tuple[Distribution, Distribution]:
    """Upload a release with documentation; its wheel and its sdist."""
    wheel, sdist = wheel_of(NAME, "1.0"), sdist_of(NAME, "1.0")
    paths = [wheel.write(folder), sdist.write(folder), doc_zip(folder, "1.0", "How to")]
    await step("upload", *map(str, paths))
    return wheel, sdist


def told_of(done: Done) -> list[str]:
    """The lines with a status."""
    return [line for line in done.lines if line[:1].isdigit() or line.startswith("-1")]


@in_reactor
async def test_a_release_is_pushed_to_another_index(
    server: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step, tmp_path: Path
) -> None:
    stage, final = await start(server, upstream, step)
    wheel, sdist = await with_release(step, tmp_path / "dist")
    files = [f"200 store_releasefile {PROD}/{file.path}" for file in (wheel, sdist)]
    docs = f"200 store_doczip {NAME} 1.0 -> {PROD}"
    register = f"200 register {NAME} 1.0 -> {PROD}"
    before = await deferToThread(stage.serial)
    assert told_of(await step("push", "--no-docs", f"{NAME}==1.0", PROD)) == [register, *files]
    assert await deferToThread(stage.serial) == before + 1, "one entry"
    assert told_of(await step("push", "--only-docs", f"{NAME}==1.0", PROD)) == [register, docs]
    assert await deferToThread(final.digests, NAME) == await deferToThread(stage.digests, NAME)
    assert b"How to" in await deferToThread(fetch, f"{final.url}{NAME}/1.0/+doc/index.html")
    links = (await deferToThread(devpi.getjson, f"/{PROD}/{NAME}/1.0"))["result"]["+links"]
    assert [log["what"] for log in links[0]["log"]] == ["upload", "push"]
    assert (links[0]["log"][1]["src"], links[0]["log"][1]["dst"]) == (DEV, PROD)
    refused = await step("push", f"{NAME}==1.0", PROD, status=1)
    assert refused.lines[-1] == f"409 Conflict: {wheel.filename} already exists in non-volatile index"
    refusals = {
        (f"{NAME}==2.0", PROD): f"400 Bad Request: there are no files for {NAME} 2.0 on stage {DEV}",
        (f"{NAME}==1.0", "jonathan/none"): "404 Not Found: The stage jonathan/none could not be found.",
        (f"{NAME}==1.0", "root/pypi"): "401 Unauthorized: user 'jonathan' cannot upload to 'root/pypi'",
    }
    for words, refusal in refusals.items():
        assert (await step("push", *words, status=1)).lines[-1] == refusal


@in_reactor
async def test_a_release_of_a_mirror_is_pushed_to_a_private_index(server: LiveServer, upstream: FakeUpstream, step: Step) -> None:
    wheel = wheel_of("hello", "1.0", b"public")
    upstream.add_project("hello", {wheel.filename: wheel.content})
    _, final = await start(server, upstream, step)
    assert wheel.filename in (await step("list", "--index", "root/pypi", "hello")).told
    told = await step("push", "--index", "root/pypi", "hello==1.0", PROD)
    assert f"200 store_releasefile {PROD}/{wheel.path}" in told_of(told)
    assert await deferToThread(fetch, link(final, wheel)) == wheel.content


@in_reactor
async def test_a_release_is_pushed_to_a_repository_elsewhere(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step, tmp_path: Path
) -> None:
    stage, _ = await start(server, upstream, step)
    wheel, sdist = await with_release(step, tmp_path / "dist")
    await deferToThread(other.start, "--offline", environment=CHEAP)
    target: Stage = await deferToThread(lambda: make_stage(other, "mary/test", bases="", volatile=False))
    write_pypirc(devpi, target)
    files = [f"200 upload {DEV}/{file.path}" for file in (wheel, sdist)]
    pushing = ("push", f"{NAME}==1.0", "pypi:testrepo")
    assert told_of(await step(*pushing)) == [*files, f"200 docfile {NAME}"]
    assert await deferToThread(target.digests, NAME) == await deferToThread(stage.digests, NAME)
    assert await deferToThread(fetch, link(target, wheel)) == wheel.content
    assert await deferToThread(_facts, target) == await deferToThread(_facts, stage)
    assert b"How to" in await deferToThread(fetch, f"{target.url}{NAME}/1.0/+doc/index.html")
    told = await step(*pushing, "--register-project", "--no-docs")
    assert told_of(told) == [f"200 register {NAME} 1.0", *files], "the same again is welcome"
    changed = wheel_of(NAME, "1.0", b"other bytes")
    await step("upload", str(changed.write(tmp_path / "other")))
    refused = await step(*pushing, "--no-docs", status=1)
    assert f"{wheel.filename} already exists in non-volatile index" in refused.told
    assert told_of(refused)[-2].startswith(f"409 upload {DEV}/{changed.path}")
    assert await deferToThread(fetch, link(target, wheel)) == wheel.content
    await deferToThread(other.end)
    gone = await step(*pushing, status=1)
    assert gone.told.count("-1 upload") == 2
    assert "Connection was refused" in gone.told
    assert "Traceback" not in server.told()


def _facts(stage: Stage) -> dict[str, Any]:
    """What a release says of itself.  Blocking."""
    return {name: value for name, value in stage.version(NAME, "1.0").items() if name[0] != "+"}


@in_reactor
async def test_files_releases_and_projects_are_removed(
    server: LiveServer, upstream: FakeUpstream, step: Step, tmp_path: Path
) -> None:
    stage, final = await start(server, upstream, step)
    files = {version: wheel_of(NAME, version) for version in ("1.0", "1.1", "1.2", "1.3")}
    paths = [str(file.write(tmp_path / "dist")) for file in files.values()]
    for index in (DEV, PROD):
        await step("upload", "--index", index, *paths)

    async def left(where: Stage) -> list[str]:
        return sorted(name.split("-")[1] for name in await deferToThread(where.digests, NAME))

    told = await step("remove", "-y", f"{NAME}==1.0")
    about = ["About to remove the following releases and distributions", "version: 1.0", f"- {link(stage, files['1.0'])}"]
    assert told.lines[:3] == about
    assert YES in told.lines
    assert await left(stage) == ["1.1", "1.2", "1.3"]
    await step("remove", "-y", link(stage, files["1.1"]))
    assert await left(stage) == ["1.2", "1.3"]
    assert "No releases or distributions found matching" in (await step("remove", "-y", f"{NAME}==1.0", status=1)).told
    await step("remove", "-y", NAME)
    assert (await step("list")).lines == []
    await step("use", PROD)
    for words in ((f"{NAME}==1.0",), (NAME,), (link(final, files["1.0"]),)):
        assert "403 Forbidden: " in (await step("remove", "-y", *words, status=1)).told
    assert await left(final) == ["1.0", "1.1", "1.2", "1.3"]
    await step("remove", "-y", "-f", link(final, files["1.1"]))
    await step("remove", "-y", "-f", f"{NAME}<1.2")
    assert await left(final) == ["1.2", "1.3"]
    reused = await step("upload", str(wheel_of(NAME, "1.0", b"x").write(tmp_path / "other")), status=1)
    assert "409 FAIL" in reused.told
    await step("upload", paths[0])
    await step("remove", "-y", "-f", NAME)
    assert (await step("list")).lines == []
    with pytest.raises(urllib.error.HTTPError, match="410"):
        await deferToThread(fetch, link(final, files["1.3"]))
