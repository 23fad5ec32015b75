"""Signing in at a replica with workers: the primary begins the session, and each worker knows it until it ends."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import attrs
import pytest

from tests.etc.talking import basic, upload_form
from tests.fakes.live_server import LiveServer
from tests.fakes.wheels import make_wheel, wheel_name
from tests.live.stages import PASSWORD
from tests.live.test_live_commands import CHEAP, ask
from tests.live.test_live_forward import ReplicaWithWorkers

_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


@attrs.define(eq=False)
class Browser:
    """Keeps cookies; each request has a connection of its own, so that it reaches any worker.  Blocking."""

    url: str
    cookies: CookieJar = attrs.field(factory=CookieJar)

    def get(self, path: str) -> tuple[int, str]:
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, page: str = "", **fields: str) -> tuple[int, str]:
        """Send a form; its token is that of the last form of ``page``."""
        tokens = _TOKEN.findall(page)
        body = urlencode({**fields, **({"form_token": tokens[-1]} if tokens else {})}).encode()
        return self._ask(urllib.request.Request(self.url + path, body, {"Origin": self.url}))

    def _ask(self, request: urllib.request.Request) -> tuple[int, str]:
        request.add_header("Accept", "text/html,*/*;q=0.8")
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReplicaWithWorkers]:
    primary = LiveServer(tmp_path / "primary", tmp_path / "primary.log")
    made = ReplicaWithWorkers(tmp_path / "data", tmp_path / "twistd.log", primary=primary)
    yield made
    made.kill()


def test_a_session_of_a_replica_counts_in_every_worker_until_it_ends(server: ReplicaWithWorkers) -> None:
    server.start(environment=CHEAP)
    assert ask(server, "PUT", "/alice", {"password": PASSWORD})[0] == 201
    alice = Browser(server.url)
    assert alice.post("/+login", user="alice", password="wrong")[0] == 401
    status, page = alice.post("/+login", user="alice", password=PASSWORD, next="/alice/+new-index")
    assert (status, "New index of alice" in page) == (200, True)
    status, page = alice.post("/alice/+new-index", page, name="closed", acl_read="alice")
    assert (status, "The index was created." in page) == (200, True), "the primary's answer is read here at once"
    for _ in range(8):
        assert alice.get("/alice/closed")[0] == 200
        assert Browser(server.url).get("/alice/closed")[0] == 403
    session = "; ".join(f"{cookie.name}={cookie.value}" for cookie in alice.cookies)
    request = urllib.request.Request(f"{server.url}/alice/closed", method="DELETE", headers={"Cookie": session})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value:
        assert refused.value.code == 403
    assert ask(server, "PUT", "/alice/open", {"acl_upload": ["alice"]}, credentials=f"alice:{PASSWORD}")[0] in (200, 201)
    body, kind = upload_form(wheel_name("demo", "1.0"), make_wheel("demo", "1.0"))
    headers = {"Content-Type": kind, "Authorization": basic("alice", PASSWORD)}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/alice/open/", body, headers), timeout=60) as uploaded:
        assert uploaded.status == 200
    status, page = alice.post("/alice/open/demo/1.0/+yank", alice.get("/alice/open/demo/1.0/+yank")[1], reason="it sinks")
    assert (status, "This version is yanked." in page) == (200, True), "the primary's answer is read here at once"
    told = re.compile(r'alice</a> yanked demo-1.0[^<]* on alice/open<q class="reason">it sinks')
    for _ in range(4):  # each worker reads the changelog of the replica itself
        assert told.search(alice.get("/alice/open/demo/1.0")[1])
    page = alice.get("/alice/closed/+delete")[1]
    assert "The index alice/closed is deleted" in page
    status, page = alice.post("/alice/closed/+delete", page)
    assert (status, "Index alice/closed deleted." in page) == (200, True)
    page = alice.get("/+account")[1]
    status, page = alice.post("/alice/+account/password", page, current=PASSWORD, new="another", again="another")
    assert (status, "You have another password now" in page) == (200, True)
    page = alice.get("/+account")[1]
    alice.post("/+logout", page)
    assert [cookie.name for cookie in alice.cookies] == []
    assert alice.get("/+account")[0] == 403
    assert "Traceback" not in server.told() + server.primary.told()
