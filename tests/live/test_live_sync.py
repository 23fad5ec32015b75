"""Files are fetched before anybody asks for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip
from tests.live.test_live_commands import CHEAP, ask, twistpi
from tests.live.test_live_garbage import ROOT

NEEDS = ("other",)
FOR_MAC = "native-1.0-py3-none-macosx_11_0_arm64.whl"


@in_reactor
async def test_what_a_list_names_and_what_that_needs_is_here_before_the_upstream_is_gone(
    server: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Also in versions that a policy allows, and for other platforms; a second run fetches nothing."""
    for name, version, more in (("hello", "1.0", NEEDS), ("hello", "2.0", NEEDS), ("other", "1.0", ())):
        files = {wheel_name(name, one): make_wheel(name, one, more) for one in ("1.0", version)}
        sheets = {filename: metadata(name, filename.split("-")[1], more) for filename in files}
        upstream.add_project(name, files, metadata=sheets)
    upstream.add_project("native", {FOR_MAC: make_wheel("native", "1.0")}, metadata={FOR_MAC: metadata("native", "1.0")})
    (tmp_path / "wanted.txt").write_text("hello\nnative; sys_platform == 'darwin'\n")

    def sync(*words: str) -> dict[str, object]:
        report: dict[str, object] = json.loads(twistpi(server, "sync", "--into", "root/pypi", "--json", *words))
        return report

    def work() -> None:
        server.start("--upstream", upstream.index_url, environment=CHEAP)
        eventually((server.serverdir / "running.json").exists)
        assert ask(server, "PATCH", "/root/pypi", ["deny=hello>=2"], ROOT)[0] == 200
        wanted = ("-r", os.fspath(tmp_path / "wanted.txt"), "--python", "3.11,3.12", "--platform", "linux-x86_64,macos-arm64")
        assert sync(*wanted, "--closure")["fetched"] == 3
        assert sync(*wanted, "--closure") == {"fetched": 0, "there": 3, "bytes": 0, "differences": []}
        seen = len(upstream.seen)
        Pip("pip").install(tmp_path / "environment", server.simple, "hello")
        assert len(upstream.seen) == seen
        server.end()

    await deferToThread(work)
