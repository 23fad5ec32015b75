"""``twistpi gc`` beside a server that goes on taking uploads and removals."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from tests.etc.talking import ask as ask_anything
from tests.etc.talking import basic, upload_form
from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.wheels import make_wheel, wheel_name
from tests.live.test_live_commands import CHEAP, ask, twistpi

ROOT = "root:"
"""Whose password is blank."""


def upload(server: LiveServer, index: str, name: str, version: str, wheel: bytes | None = None) -> int:
    """Upload a wheel as tools do; the status.  Blocking."""
    body, kind = upload_form(wheel_name(name, version), wheel or make_wheel(name, version))
    done = ask_anything(f"{server.url}/{index}/", "POST", body, Content_Type=kind, Authorization=basic("root", ""))
    assert done.status == 200, done
    return done.status


def age(server: LiveServer, pattern: str = "*") -> None:
    """Make stored files look as if they had been stored long ago."""
    for path in (server.serverdir / "+files").rglob(pattern):
        with suppress(FileNotFoundError):
            if path.is_file():
                os.utime(path, (1_000_000_000, 1_000_000_000))


def stored(server: LiveServer) -> set[str]:
    return {path.name for path in (server.serverdir / "+files").rglob("*") if path.is_file()}


def start(server: LiveServer) -> None:
    server.start("--no-root-pypi", environment=CHEAP)
    eventually((server.serverdir / "running.json").exists)
    for index in ("dev", "prod"):
        config = {"volatile": True, "bases": [], "acl_upload": ["root"]}
        assert ask(server, "PUT", f"/root/{index}", config, ROOT)[0] == 200


def test_gc_beside_a_running_server_removes_what_was_removed_everywhere(server: LiveServer) -> None:
    start(server)
    for index, version in (("dev", "1.0"), ("prod", "1.0"), ("dev", "2.0")):
        assert upload(server, f"root/{index}", "demo", version) == 200
    for version in ("1.0", "2.0"):
        assert ask(server, "DELETE", f"/root/dev/demo/{version}", None, ROOT)[0] in (200, 201)
    both = {wheel_name("demo", "1.0"), wheel_name("demo", "1.0") + ".metadata"}
    gone = {wheel_name("demo", "2.0"), wheel_name("demo", "2.0") + ".metadata"}
    assert "2 unused files were stored in the last hour" in twistpi(server, "gc")
    assert stored(server) == both | gone
    age(server)
    told = twistpi(server, "gc", "--dry-run")
    assert all(name in told for name in gone)
    assert "nothing was changed" in told
    assert stored(server) == both | gone
    assert twistpi(server, "gc").startswith("2 files with ")
    assert stored(server) == both
    assert "all is well" in twistpi(server, "check")
    server.end()
    assert twistpi(server, "gc") == "Nothing to remove: the indexes use all files (there are 2).\n"


def test_nothing_is_lost_while_uploads_removals_and_gc_go_on_together(server: LiveServer) -> None:
    start(server)
    failures: list[BaseException] = []

    def client(number: int) -> None:
        try:
            for turn in range(12):
                index = ("dev", "prod")[(number + turn) % 2]
                assert upload(server, f"root/{index}", "demo", f"{turn % 3}.0") == 200
                age(server, "*.whl")  # which is claimed while it is uploaded, however old it looks
                status = ask(server, "DELETE", f"/root/{index}/demo/{turn % 3}.0", None, ROOT)[0]
                assert status in (200, 201, 404), status
                assert upload(server, f"root/{index}", "demo", f"{turn % 3}.0") == 200
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    while any(thread.is_alive() for thread in clients):
        twistpi(server, "gc")
    assert failures == []
    assert "all is well" in twistpi(server, "check")
