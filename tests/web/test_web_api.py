"""``+api``, ``+status``, and what every answer of the devpi protocol carries."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.web.web_asking import Person, add_mirror, add_stage, ask_raw, basic, logged_in, nobody
from tests.web.web_world import NODE_ID, MakeWorld, World

FEATURES = ["projectconfig-v2", "push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing"]


@pytest.mark.parametrize("path", ["/+api", "/+api/", "/alice/+api", "/nouser/+api", "/%2Bapi"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_api_tells_where_to_log_in(world: World, method: str, path: str) -> None:
    answer = nobody(world).ask(method, path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "type": "apiconfig",
        "result": {"login": "http://devpi.example/+login", "authstatus": ["noauth", "", []], "features": FEATURES},
    }


def test_api_of_an_index_tells_its_addresses(world: World) -> None:
    add_stage(world)
    result = nobody(world).get("/alice/dev/+api").json()["result"]
    assert result["index"] == "http://devpi.example/alice/dev"
    assert result["simpleindex"] == "http://devpi.example/alice/dev/+simple/"
    assert result["pypisubmit"] == "http://devpi.example/alice/dev/"
    assert result["login"] == "http://devpi.example/+login"


def test_api_of_a_mirror_offers_no_uploads(world: World) -> None:
    result = nobody(world).get("/root/pypi/+api").json()["result"]
    assert result["simpleindex"] == "http://devpi.example/root/pypi/+simple/"
    assert "pypisubmit" not in result


def test_api_of_an_unknown_index_is_404(world: World) -> None:
    answer = nobody(world).get("/alice/none/+api")
    assert (answer.status, answer.json()) == (404, {"message": "The stage alice/none could not be found."})


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html"])
def test_api_speaks_json_to_everybody_and_status_to_programs(world: World, accept: str) -> None:
    assert nobody(world).get("/+api", accept=accept).json()["type"] == "apiconfig"
    assert nobody(world).get("/a/none/+api", accept=accept).json()["message"]
    kind = "text/html; charset=utf-8" if accept == "text/html" else "application/json"
    assert nobody(world).get("/+status", accept=accept).headers["content-type"] == kind


def test_api_tells_who_is_logged_in(world: World) -> None:
    world.add_user("alice", "secret")
    assert logged_in(world, "alice").get("/+api").json()["result"]["authstatus"] == ["ok", "alice", []]
    basic_pair = {"authorization": f"bAsIc {basic('alice:secret')}", "accept": "application/json"}
    assert ask_raw(world, "GET", "/+api", headers=basic_pair).json()["result"]["authstatus"] == ["ok", "alice", []]
    wrong_first = {**basic_pair, "x_devpi_auth": basic("alice:wrong")}
    assert ask_raw(world, "GET", "/+api", headers=wrong_first).json()["result"]["authstatus"] == ["noauth", "", []]


def test_R06_addresses_begin_with_what_a_trusted_proxy_says(make_world: MakeWorld) -> None:
    world = make_world(trusted_proxies=(ip_network("192.0.2.0/24"),))
    add_stage(world)
    outside = {"x_outside_url": "https://pkgs.example/devpi/"}
    for path in ("/alice/dev/+api", "/devpi/alice/dev/+api"):
        result = nobody(world).get(path, **outside).json()["result"]
        assert result["login"] == "https://pkgs.example/devpi/+login"
        assert result["index"] == "https://pkgs.example/devpi/alice/dev"
    stranger = Person(world, address="198.51.100.1")
    assert stranger.get("/alice/dev/+api", **outside).json()["result"]["login"] == "http://devpi.example/+login"
    assert stranger.get("/devpi/alice/dev/+api", **outside).status == 404


EVERY = (
    "GET /+api",
    "GET /",
    "GET /nouser",
    "POST /+login",
    "PUT /root",
    "DELETE /root/pypi",
    "GET /%00",
    "GET /root/pypi/+simple/x/",
)


@pytest.mark.parametrize("line", EVERY)
def test_every_answer_carries_the_headers_of_the_protocol(world: World, line: str) -> None:
    method, path = line.split()
    headers = nobody(world).ask(method, path).headers
    assert headers["x-devpi-api-version"] == "2"
    assert headers["x-devpi-server-version"] == "1.0"
    assert headers["x-devpi-serial"] == "1"
    assert headers["x-devpi-uuid"] == headers["x-devpi-master-uuid"] == headers["x-devpi-primary-uuid"] == NODE_ID


def test_the_serial_of_a_write_is_in_its_answer(world: World) -> None:
    world.add_user("alice", None)
    alice = logged_in(world, "alice")
    assert alice.ask("PUT", "/alice/dev", {}).headers["x-devpi-serial"] == "3"
    assert alice.ask("PATCH", "/alice/dev", {"title": "x"}).headers["x-devpi-serial"] == "4"
    assert alice.ask("PATCH", "/alice/dev", {"title": "x"}).headers["x-devpi-serial"] == "4"
    assert alice.ask("DELETE", "/alice/dev").headers["x-devpi-serial"] == "5"


def test_R72_refusals_keep_the_connection(world: World) -> None:
    add_stage(world, acl_read=["alice"])
    for method, path, status in (("GET", "/alice/dev", 401), ("PUT", "/alice/new", 404), ("DELETE", "/alice/dev", 403)):
        answer = nobody(world).ask(method, path, {"some": "body"})
        assert answer.status == status
        assert answer.headers.get("connection", "keep-alive").lower() != "close"


def test_a_body_of_a_get_is_passed_over(world: World) -> None:
    assert nobody(world).ask("GET", "/", b"{}").json()["type"] == "list:userconfig"


def test_answers_are_indented_ascii(world: World) -> None:
    world.add_user("jürgen", None, title="Größe \U0001f40d")
    body = nobody(world).get("/").body
    assert body.startswith(b'{\n  "type": "list:userconfig",\n  "result": {\n    "')
    assert body.endswith(b"}\n")
    assert body.isascii()
    assert nobody(world).get("/j%C3%BCrgen").json()["result"]["title"] == "Größe \U0001f40d"


def test_status_tells_how_the_server_is(world: World) -> None:
    world.clock.advance(10)
    add_mirror(world)
    answer = nobody(world).get("/+status")
    result = answer.json()["result"]
    assert answer.json()["type"] == "status"
    assert result["uuid"] == NODE_ID
    assert result["role"] == "MASTER"
    assert result["versioninfo"] == {"twistpi": "1.0"}
    assert result["serial"] == result["event-serial"] == 2
    assert result["last-commit-timestamp"] == world.clock.seconds()
    assert result["outside-url"] is None
    assert result["polling_replicas"] == {}
    assert all(len(metric) == 3 for metric in result["metrics"])
    assert world.folder not in answer.body.decode()


@pytest.mark.parametrize("path", ["/", "/root", "/root/", "/root/pypi", "/root/pypi/", "/+api", "/+status", "/root/pypi/+api"])
def test_head_tells_what_get_would(world: World, path: str) -> None:
    got, head = nobody(world).get(path), nobody(world).ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers == {name: value for name, value in got.headers.items() if name != "transfer-encoding"}
