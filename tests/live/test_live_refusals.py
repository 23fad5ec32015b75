"""Rules of a policy on a server with workers and on its replica: on the page, for the file and for its metadata, at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.test_live_commands import CHEAP, ask
from tests.live.test_live_workers import Client, clients_of_both

VERSIONS = ("1.0", "2.0")
FILES = {wheel_name("hello", version): make_wheel("hello", version) for version in VERSIONS}
BAD = wheel_name("hello", "2.0")
DIGEST = hashlib.sha256(FILES[BAD]).hexdigest()
FILE = f"/root/pypi/+f/{DIGEST[:3]}/{DIGEST[3:16]}/{BAD}"
ROOT = "root:secret"
JSON = "application/vnd.pypi.simple.v1+json"
RULES = (
    ("quarantined+=hello==2.0 it steals",),
    ("deny+=hello>=2",),
    ("allow+=hello<2",),
    ("min_release_age=7d", "min_release_age_exempt+=hello==1.0"),
    ("deny_sdists=True", "max_file_size=1", "policy_mode=report"),
)
"""Each with what else is set with it; the last one refuses nothing."""
NOTHING = RULES[-1]


def answers(client: Client) -> tuple[list[str], int, int, bytes]:
    """The versions on the page, the status of the file and of its metadata, and what the file's answer says."""
    status, body = client.ask("GET", "/root/pypi/+simple/hello/", Accept=JSON)
    assert status == 200
    found = [
        version for version in VERSIONS if any(wheel_name("hello", version) in str(file) for file in json.loads(body)["files"])
    ]
    file, reason = client.ask("GET", FILE, Accept="*/*")
    return found, file, client.ask("GET", f"{FILE}.metadata", Accept="*/*")[0], reason


def check(clients: Sequence[Client], rule: Sequence[str]) -> None:
    """Every client is refused what ``rule`` refuses."""
    for client in clients:
        found, file, metadata, reason = answers(client)
        if rule is NOTHING:
            assert (found, file, metadata) == (list(VERSIONS), 200, 200)
        else:
            assert (found, file, metadata) == (["1.0"], 403, 403), rule
            assert f"by the rule {names_of(rule)[0]} of root/pypi".encode() in reason


def names_of(rule: Sequence[str]) -> list[str]:
    return [change.partition("=")[0].rstrip("+") for change in rule]


def replicated(primary: LiveServer, replica: LiveServer) -> None:
    serial = ask(primary, "GET", "/+status")[1]["result"]["serial"]
    eventually(lambda: ask(replica, "GET", "/+status")[1]["result"]["serial"] >= serial)


@in_reactor
async def test_every_rule_counts_at_once_in_workers_and_on_a_replica(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream
) -> None:
    upstream.add_project("hello", FILES, extra={BAD: {"upload-time": "2099-01-01T00:00:00Z"}})

    def run() -> None:
        server.start("--upstream", upstream.index_url, "--workers", "2", "--root-passwd", "secret", environment=CHEAP)
        secret = str(server.serverdir / "secret")
        other.start("--primary-url", server.url, "--secretfile", secret, "--workers", "2", environment=CHEAP)
        workers = clients_of_both(server)
        replicated(server, other)
        followers = clients_of_both(other)
        for _ in range(2):  # and ready from now on
            check((*workers, *followers), NOTHING)
        former: Sequence[str] = ()
        for rule in RULES:
            change = [*(f"{name}-=" for name in names_of(former)), *rule]
            status, answer = workers[0].ask("PATCH", "/root/pypi", change, ROOT)
            assert status == 200, answer
            former = rule
            check(workers, rule)
            replicated(server, other)
            check(followers, rule)
        for client in (*workers, *followers):
            client.close()

    await deferToThread(run)
