"""Figures for administrators, and what load balancers ask."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from tests.web.web_asking import basic
from tests.web.web_wire import JSON_PAGE, Wire, request_bytes
from tests.web.web_world import BCRYPT_COST, MIRROR, World, link
from twistpi.auth.passwords import hash_password
from twistpi.model.changes import UserModified
from twistpi.model.monitoring import Check, Measure
from twistpi.web.traffic import kind_of

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
WHEEL = link("hello-1.0-py3-none-any.whl", b"wheel")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(str(tmp_path), metrics_from=(ip_network("192.0.2.0/24"),), trusted_proxies=(ip_network("127.0.0.1"),))
    yield world
    world.close()


def _wire(world: World, host: str = "127.0.0.1") -> Wire:
    wire = Wire(world)
    wire.transport.peerAddr = IPv4Address("TCP", host, 50000)
    return wire


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_kind_and_status_however_they_were_answered(world: World) -> None:
    world.list_links("hello", [WHEEL])
    path = world.cache_file("hello", WHEEL, b"wheel")
    metadata = world.cache_metadata("hello", WHEEL, b"Metadata-Version: 2.1\n")
    wire = _wire(world)
    for _ in range(3):
        tag = wire.ask(f"/{MIRROR}/+simple/hello/", accept=JSON_PAGE).headers["etag"]
        wire.ask(f"/{MIRROR}/+simple/hello/", accept=JSON_PAGE, if_none_match=tag)
        wire.ask(path)
        wire.ask(metadata)
    wire.ask("/nobody/nothing/+simple/x/")
    wire.ask("/root", "DELETE")
    samples = _samples(wire.ask("/+metrics").body.decode())

    def requests(kind: str, status: int) -> float:
        return samples["twistpi_requests_total", (("kind", kind), ("status", str(status)))]

    assert requests("page", 200) == 3
    assert requests("page", 304) == 3
    assert requests("page", 404) == 1
    assert requests("file", 200) == 3
    assert requests("metadata", 200) == 3
    assert requests("writing", 403) == 1
    assert samples["twistpi_request_seconds_count", ()] == 14
    assert samples["twistpi_request_seconds_bucket", (("le", "+Inf"),)] == 14
    assert samples["twistpi_response_bytes_total", ()] > 0
    assert samples["twistpi_pages_total", (("origin", "memory"),)] == 5
    assert samples["twistpi_pages_total", (("origin", "hit"),)] == 1
    assert samples["twistpi_view_serial", ()] == world.components.responder.serial
    assert samples["process_open_fds", ()] > 0
    assert samples["process_resident_memory_bytes", ()] > 0
    assert ("twistpi_info", (("node", "2" * 32), ("role", "primary"), ("version", "1.0"))) in samples


def test_who_does_not_wait_for_an_answer_is_counted_and_logged_too(tmp_path: Path) -> None:
    world = World(str(tmp_path), access_log=str(tmp_path / "access.log"))
    world.list_links("hello", [WHEEL])
    world.mirror.gate = Deferred()
    wire = _wire(world)
    wire.send(request_bytes(f"/{MIRROR}/+simple/hello/"))
    wire.lose()
    assert list(world.components.traffic.answered) == [("page", 499, 1)]
    assert '+simple/hello/ HTTP/1.1" 499 -' in (tmp_path / "access.log").read_text()
    world.close()


def test_whoever_has_figures_finds_them_among_the_others(world: World) -> None:
    world.components.measuring.append(
        lambda: [
            Measure("twistpi_lag_seconds", "gauge", "How far behind", 2.5, (("peer", 'a"b'),)),
            Measure("twistpi_lag_seconds", "gauge", "How far behind", 3, (("peer", "c"),)),
            Measure("twistpi_tries", "counter", "Tries", 7),
        ]
    )
    samples = _samples(_wire(world).ask("/+metrics").body.decode())
    assert samples["twistpi_lag_seconds", (("peer", 'a"b'),)] == 2.5
    assert samples["twistpi_lag_seconds", (("peer", "c"),)] == 3
    assert samples["twistpi_tries_total", ()] == 7


def test_the_format_is_what_the_asker_accepts(world: World) -> None:
    wire = _wire(world)
    text, openmetrics = wire.ask("/+metrics"), wire.ask("/+metrics", accept=OPENMETRICS)
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    families = read_openmetrics(openmetrics.body.decode())
    assert {family.name for family in families} >= {"twistpi_requests", "twistpi_info"}
    assert wire.ask("/+metrics", "HEAD").status == 200


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("198.51.100.1", {}, 403),
        ("192.0.2.7", {}, 200),
        ("127.0.0.1", {"x_forwarded_for": "198.51.100.1"}, 403),
        ("127.0.0.1", {"x_forwarded_for": "192.0.2.7"}, 200),
        ("198.51.100.1", {"x_forwarded_for": "192.0.2.7"}, 403),
        ("198.51.100.1", {"authorization": f"Basic {basic('root:right')}"}, 200),
        ("198.51.100.1", {"authorization": f"Basic {basic('root:wrong')}"}, 403),
        ("198.51.100.1", {"authorization": f"Basic {basic('alice:right')}"}, 403),
    ],
)
def test_figures_are_for_this_machine_named_networks_and_root(
    world: World, peer: str, headers: dict[str, Any], status: int
) -> None:
    world.commit(UserModified("root", password_hash=hash_password("right", BCRYPT_COST)))
    world.add_user("alice", "right")
    assert _wire(world, peer).ask("/+metrics", **headers).status == status


def test_health_is_told_to_everybody_as_long_as_the_process_answers(world: World) -> None:
    world.components.checking.append(lambda: [Check("disk", False, "It is full.")])
    answer = _wire(world, "198.51.100.1").ask("/+health")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})
    assert answer.headers["cache-control"] == "no-store"


def test_ready_is_a_server_whose_needed_checks_are_fine(world: World) -> None:
    wire = _wire(world, "198.51.100.1")
    assert wire.ask("/+ready").json() == {"ready": True, "checks": []}
    world.components.checking.append(lambda: [Check("upstream", False, "It is away.", needed=False), Check("log", True, "Fine.")])
    answer = wire.ask("/+ready")
    assert answer.status == 200
    assert [check["result"] for check in answer.json()["checks"]] == ["warning", "fine"]
    world.components.checking.append(lambda: [Check("disk", False, "It is full.")])
    answer = wire.ask("/+ready")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["checks"][-1] == {"name": "disk", "result": "failed", "message": "It is full."}


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        (b"GET", b"/root/pypi/+simple/", "names"), (b"GET", b"/root/pypi/+simple", "names"), (b"HEAD", b"/a/b/+simple/x", "page"),
        (b"GET", b"/prefix/a/b/+f/abc/def/x.whl", "file"), (b"GET", b"/a/b/+e/abc/x.whl.metadata", "metadata"),
        (b"POST", b"/+login", "login"), (b"POST", b"/a/b/", "writing"), (b"GET", b"/a/b/x/1.0/+d/index.html", "docs"),
        (b"GET", b"/a/b/x/1.0/+doc", "docs"), (b"GET", b"/+ready", "watching"), (b"GET", b"/a/b", "reading"),
        (b"DELETE", b"/a/b/+f/abc/def/x.whl", "writing"), (b"GET", b"/a/b/+dx", "reading"),
    ],
)  # fmt: skip
def test_every_request_is_of_one_kind(method: bytes, path: bytes, kind: str) -> None:
    assert kind_of(method, path) == kind
