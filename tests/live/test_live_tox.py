"""``devpi test`` with real tox: the release is fetched, tested, and the result kept with it."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.fakes.distributions import sdist_of
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.live.devpi_client import DevpiClient, Step
from tests.live.projects import NAME, write_project
from tests.live.stages import fetch, fill
from tests.live.test_live_releases import DEV, PROD, start

FAILING = "[tox]\nenv_list = bad\n\n[testenv]\nskip_install = true\ncommands = python -c \"raise SystemExit('it is broken')\"\n"


@in_reactor
async def test_a_release_is_tested_and_its_results_travel_with_it(
    server: LiveServer, upstream: FakeUpstream, devpi: DevpiClient, step: Step, tmp_path: Path
) -> None:
    fill(upstream)
    stage, _ = await start(server, upstream, step)
    project = write_project(tmp_path / NAME)
    await step("upload", "--no-vcs", "--sdist", folder=project)
    sdist = f"{NAME}-1.0.tar.gz"
    digest = (await deferToThread(stage.digests, NAME))[sdist]
    path = f"+f/{digest[:3]}/{digest[3:16]}/{sdist}"
    passed = await step("test", NAME)
    assert passed.lines[-2:] == [f"posting tox result data to {stage.url}{path}", "success"]
    assert "tests passed" in (await step("list", "-t", NAME)).told
    (tmp_path / "failing.ini").write_text(FAILING)
    failed = await step("test", "-c", str(tmp_path / "failing.ini"), NAME, status=1)
    assert failed.lines[-2:] == ["success", "tox command failed 1"]
    assert "it is broken" in (await step("list", "-f", NAME)).told
    links = (await deferToThread(devpi.getjson, f"{NAME}/1.0"))["result"]["+links"]
    results = [link for link in links if link["rel"] == "toxresult"]
    assert [result["for_href"] for result in results] == [f"{stage.url}{path}"] * 2
    assert [result["href"].rpartition("-")[2] for result in results] == ["0", "1"]
    reports = [json.loads(await deferToThread(fetch, result["href"])) for result in results]
    assert [sorted(name for name in report["testenvs"] if name[0] != ".") for report in reports] == [["py"], ["bad"]]
    pushed = await step("push", f"{NAME}==1.0", PROD)
    assert len([line for line in pushed.lines if line.startswith(f"200 store_toxresult {PROD}/{path}.toxresult-")]) == 2
    await step("use", PROD)
    assert "tests passed" in (await step("list", "-t", NAME)).told
    assert "Traceback" not in server.told()


@in_reactor
async def test_results_are_refused_to_whom_the_index_does_not_name(
    server: LiveServer, upstream: FakeUpstream, step: Step, tmp_path: Path
) -> None:
    await start(server, upstream, step)
    await step("upload", str(sdist_of(NAME, "1.0").write(tmp_path / "dist")))
    await step("index", DEV, "acl_toxresult_upload=root")
    (tmp_path / "quick.ini").write_text(FAILING.replace("raise SystemExit('it is broken')", "print(1)"))
    testing = ("test", "-c", str(tmp_path / "quick.ini"), NAME)
    refused = await step(*testing, status=1)
    refusal = "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload."
    assert refused.lines[-1] == f"403 Forbidden: {refusal}"
    await step(*testing, "--no-upload")
    assert "tests passed" not in (await step("list", "-t", NAME)).told
