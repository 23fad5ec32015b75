"""What a doctor says: nothing where nothing is wrong, and a sentence that helps where something is."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.cli.diagnostics import server_survey as ask_for
from twistpi.cli.diagnostics.findings import Finding, Verdict, count, doctor_fields, doctor_lines
from twistpi.cli.diagnostics.machine import Machine, Protected, Upstream
from twistpi.cli.diagnostics.server_rules import diagnose
from twistpi.cli.diagnostics.server_survey import API, STATUS, STRANGER, Site, survey_server
from twistpi.cli.diagnostics.survey import Exchange, Query
from twistpi.http.blocking import SILENT, UNTRUSTED
from twistpi.server.node import Running
from twistpi.server.settings import Settings

URL = "https://pkgs.example/devpi"
NOW = 1_795_000_000.0
DATE = "Wed, 18 Nov 2026 11:06:40 GMT"
OURS = {"X-Devpi-Api-Version": "2", "X-Devpi-Serial": "7", "X-Devpi-Uuid": "ab" * 16, "Date": DATE}
FILE = f"{URL}/root/pypi/+f/ab1/2cd34ef567890/six-1.0.tar.gz"
PROTECTED = Protected("carol/closed", "+f/ab1/2cd34ef567890/mine-1.0.tar.gz", "+files/ab1/2cd34ef567890/mine-1.0.tar.gz")


UPLOAD = Site(lambda query: exchange(""), {}, URL, Machine(Settings(), "")).upload
RUNNING = Running(7, ("http://127.0.0.1:3141/", "unix:/run/twistpi.sock"))


def exchange(url: str, status: int = 200, body: Any = b"", headers: dict[str, str] | None = None, ours: bool = True) -> Exchange:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {**(OURS if ours else {}), **(headers or {})}
    return Exchange(status, "Reason", tuple(fields.items()), content, query=Query(url))


def status(**facts: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"role": "MASTER", "versioninfo": {"twistpi": "1.0"}, "polling_replicas": {"cd": {}}, "fenced": None}
    return {"result": {**known, **{name.replace("_", "-"): value for name, value in facts.items()}}}


def replica(**facts: Any) -> dict[str, Any]:
    known = {"role": "REPLICA", "primary_url": "https://first.example", "lag_seconds": 0.2, "replication_errors": {}}
    return status(**{**known, **facts})


def good_outside(machine: Machine | None = None) -> Site:
    api = {"type": "apiconfig", "result": {"login": f"{URL}/+login", "authstatus": ["ok", "alice", []]}}
    site = Site(lambda query: exchange("nothing"), {}, URL, machine, NOW, 60.0, facts={"url": URL})
    site.got.update({
        API: exchange(f"{URL}/+api", body=api),
        ask_for.READY: exchange(f"{URL}/+ready", body={"ready": True, "checks": [{"name": "disk", "result": "fine"}]}),
        STATUS: exchange(f"{URL}/+status", body=status()),
        ask_for.SPOOFED: exchange(f"{URL}/+api", body=api),
        ask_for.PEER: exchange(f"{URL}/+peer", 403, {"reason": "malformed"}),
        ask_for.PAGE: exchange(f"{URL}/root/pypi/+simple/six/", body={"files": []}),
        ask_for.PAGE_GZIPPED: exchange(f"{URL}/root/pypi/+simple/six/", headers={"Content-Encoding": "gzip"}),
        ask_for.FILE_HEAD: exchange(FILE),
        ask_for.FILE_RANGE: exchange(FILE, 206, bytes(10)),
        ask_for.PUSH: exchange(f"{URL}/root/twistpi-doctor", 404),
        UPLOAD: exchange(f"{URL}/root/pypi", 404),
        ask_for.PROTECTED: exchange(f"{URL}/carol/closed/{PROTECTED.path}", 401),
        ask_for.BLOB: exchange(f"{URL}/{PROTECTED.blob}", 404),
    })  # fmt: skip
    return site


def good_machine() -> Machine:
    upstream = Upstream("root/pypi", "https://upstream.example/simple/", exchange("https://upstream.example/simple/", ours=False))
    return Machine(
        Settings(serverdir="/srv/twistpi"), "ab" * 16, "1.0", RUNNING,
        disk_free=50 << 30, disk_total=100 << 30, inodes_free=900, inodes_total=1000,
        descriptors=65536, upstreams=(upstream,), protected=PROTECTED,
    )  # fmt: skip


def said(outside: Site | None, machine: Machine | None) -> dict[str, Finding]:
    site = None if outside is None else attrs.evolve(outside, machine=machine)
    return {finding.subject: finding for finding in diagnose(site, machine)}


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    found = diagnose(attrs.evolve(good_outside(), machine=good_machine()), good_machine())
    assert [finding for finding in found if finding.verdict is not Verdict.OK] == []
    assert len({finding.subject for finding in found}) == len(found) == 26
    assert count(found, Verdict.WRONG) == 0
    lines = list(doctor_lines(found))
    assert lines[-1] == "0 things are wrong, 0 pieces of advice"
    assert doctor_fields(found)[0] == {
        "subject": "process", "verdict": "ok", "sentence": "The process 7 serves /srv/twistpi.",
    }  # fmt: skip


def seen(visit: Query, **changes: Any) -> Callable[[Site], Site]:
    """Something else comes of one question; ``ours=False``: from somebody else than twistpi."""

    def change(outside: Site) -> Site:
        old = outside.got[visit]
        ours, body = changes.get("ours", True), changes.get("body", old.body)
        headers = {name: value for name, value in old.headers if ours or not name.startswith("X-Devpi")}
        headers = {**headers, **changes.get("headers", {})}
        new = exchange(old.query.url, changes.get("status", old.status), body, headers, ours=False)
        new = attrs.evolve(new, failure=changes.get("failure", ""))
        return attrs.evolve(outside, got={**outside.got, visit: new})

    return change


def login(url: str) -> dict[str, Any]:
    return {"result": {"login": f"{url}/+login"}}


SEEN: dict[str, tuple[str, Verdict, Callable[[Site], Site], str]] = {
    "proxy without server": ("answers", Verdict.WRONG, seen(API, status=502, ours=False), "does not reach twistpi"),
    "another program": ("answers", Verdict.WRONG, seen(API, ours=False, body=b"<html>"), "not twistpi"),
    "headers lost": ("headers", Verdict.WRONG, seen(API, ours=False), "drops X-Devpi-Api-Version, X-Devpi-Serial"),
    "another scheme": ("address", Verdict.WRONG, seen(API, body=login("http://pkgs.example/devpi")), "X-Outside-Url"),
    "no prefix": (
        "address", Verdict.WRONG, seen(API, body=login("https://pkgs.example")),
        "address for https://pkgs.example, not https://pkgs.example/devpi: the proxy does not send the right path",
    ),
    "another host": (
        "address", Verdict.WRONG, seen(API, body=login("https://10.0.0.1")), "X-Outside-Url: https://pkgs.example/devpi,",
    ),
    "a login in front": ("answers", Verdict.WRONG, seen(API, status=401, ours=False), "https://user:password@"),
    "a strange certificate": (
        "answers", Verdict.WRONG, seen(API, status=0, failure=f"{UNTRUSTED}: self-signed certificate"), "SSL_CERT_FILE",
    ),
    "not ready": (
        "ready", Verdict.WRONG,
        seen(ask_for.READY, status=503, body={"checks": [{"result": "failed", "message": "It is full."}]}), "It is full.",
    ),
    "a warning": (
        "ready", Verdict.ADVICE, seen(ask_for.READY, body={"checks": [{"result": "warning", "message": "It lags."}]}), "It lags.",
    ),
    "links lead nowhere": ("links", Verdict.WRONG, seen(ask_for.FILE_HEAD, status=404), "path prefix"),
    "files fail": ("links", Verdict.WRONG, seen(ask_for.FILE_HEAD, status=502), "log says why"),
    "no ranges": ("ranges", Verdict.WRONG, seen(ask_for.FILE_RANGE, status=200), "drops Range"),
    "nginx asks for every byte": (
        "sending", Verdict.ADVICE, seen(ask_for.FILE_RANGE, headers={"Server": "nginx", "Cache-Status": "twistpi; hit"}),
        "gen-config",
    ),
    "nginx sends by itself": (
        "sending", Verdict.OK, seen(ask_for.FILE_RANGE, headers={"Server": "nginx", "Cache-Status": "nginx; hit"}), "No proxy",
    ),
    "no packing": ("packing", Verdict.ADVICE, seen(ask_for.PAGE_GZIPPED, headers={"Content-Encoding": ""}), "Accept-Encoding"),
    "no PUSH": ("methods", Verdict.WRONG, seen(ask_for.PUSH, status=405, ours=False), "devpi push fails"),
    "a proxy drops logins": (
        "logins", Verdict.WRONG,
        lambda outside: seen(ask_for.PEER, body={"reason": "missing"})(seen(API, body=login(URL))(outside)), "so installers",
    ),
    "a wrong login": (
        "logins", Verdict.UNKNOWN, lambda outside: attrs.evolve(seen(API, body=login(URL))(outside), has_login=True), "accept",
    ),
    "server-to-server requests end at the proxy": (
        "logins", Verdict.UNKNOWN, lambda outside: seen(ask_for.PEER, status=404, body=b"")(seen(API, body=login(URL))(outside)),
        "with a login in the address",
    ),
    "a forward proxy that wants a login": ("answers", Verdict.WRONG, seen(API, status=407, ours=False), "HTTPS_PROXY=http"),
    "small uploads": ("uploads", Verdict.WRONG, seen(UPLOAD, status=413, ours=False), "client_max_body_size 4096m"),
    "small uploads by setting": ("uploads", Verdict.ADVICE, seen(UPLOAD, status=413, headers=OURS), "max-upload-size"),
    "no answer to uploads": ("uploads", Verdict.UNKNOWN, seen(UPLOAD, status=0, failure="it is gone"), "cannot be checked"),
    "uploads are taken in by nginx": (
        "uploads", Verdict.ADVICE,
        lambda outside: seen(API, headers={"Server": "nginx"})(seen(UPLOAD, status=0, failure=SILENT)(outside)),
        "request_buffering off",
    ),
    "a proxy that answers only in the end": (
        "uploads", Verdict.UNKNOWN, seen(UPLOAD, status=0, failure=SILENT), "cannot be checked",
    ),
    "a replica": ("replication", Verdict.OK, seen(STATUS, body=replica()), "what its primary https://first.example has"),
    "a fenced primary": ("replication", Verdict.WRONG, seen(STATUS, body=status(fenced="Epoch 2.")), "twistpi resync"),
    "a replica that lags": (
        "replication", Verdict.WRONG, seen(STATUS, body=replica(lag_seconds=3600.0, last_error="Refused.")),
        "3,600 seconds behind its primary https://first.example. Refused.",
    ),
    "a replica in the dark": ("replication", Verdict.WRONG, seen(STATUS, body=replica(lag_seconds=None)), "same secret"),
    "a replica without files": (
        "replication", Verdict.WRONG, seen(STATUS, body=replica(replication_errors={"+f/a": {}})), "such as +f/a",
    ),
    "a fast clock": ("clock", Verdict.WRONG, lambda outside: attrs.evolve(outside, asked_at=NOW - 100), "100 seconds ahead"),
    "a slow clock": ("clock", Verdict.WRONG, lambda outside: attrs.evolve(outside, asked_at=NOW + 4000), "4,000 seconds behind"),
    "an old certificate": ("TLS", Verdict.WRONG, lambda outside: attrs.evolve(outside, certificate_days=5.0), "5 days"),
    "anybody forwards": ("forwarding", Verdict.WRONG, seen(ask_for.SPOOFED, body=login(f"http://{STRANGER}")), "of its choice"),
    "a leak": ("seclusion", Verdict.WRONG, seen(ask_for.PROTECTED, status=200), "although carol/closed is protected"),
    "an open folder": ("seclusion", Verdict.WRONG, seen(ask_for.BLOB, status=200), "+files/ab1"),
    "another server": ("same server", Verdict.WRONG, seen(API, headers={"X-Devpi-Uuid": "cd" * 16}), "another server"),
    "an old version": (
        "version", Verdict.ADVICE, seen(STATUS, body=status(versioninfo={"twistpi": "0.9"})), "Restart it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SEEN)
def test_what_is_wrong_outside_is_said_with_what_to_change(what: str) -> None:
    subject, verdict, change, words = SEEN[what]
    found = said(change(good_outside()), good_machine())[subject]
    assert found.verdict is verdict, found
    assert words in found.sentence


def test_passwords_that_travel_readable_are_said_but_not_on_loopback() -> None:
    outside = good_outside()
    assert said(attrs.evolve(outside, url="http://pkgs.example"), None)["TLS"].verdict is Verdict.ADVICE
    for url in ("http://127.0.0.1:3141", "http://[::1]:3141", "http://localhost:3141"):
        assert said(attrs.evolve(outside, url=url), None)["TLS"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("http://127.0.0.1:3141", Verdict.UNKNOWN),
        ("http://localhost:3141", Verdict.UNKNOWN),
        ("http://localhost:3141/root", Verdict.UNKNOWN),
        ("http://localhost:8080", Verdict.WRONG),
        ("http://localhost", Verdict.WRONG),
        ("https://pkgs.example", Verdict.WRONG),
    ],
)
def test_who_asks_the_server_itself_may_speak_for_a_proxy(url: str, verdict: Verdict) -> None:
    """Only what comes through a proxy shows what that does with headers."""
    outside = attrs.evolve(seen(ask_for.SPOOFED, body=login(f"http://{STRANGER}"))(good_outside()), url=url)
    assert said(outside, good_machine())["forwarding"].verdict is verdict
    is_near = "localhost" in url or "127" in url
    assert said(outside, None)["forwarding"].verdict is (Verdict.UNKNOWN if is_near else Verdict.WRONG)


def test_who_cannot_be_asked_is_not_judged() -> None:
    found = said(None, good_machine())["answers"]
    assert (found.verdict, "twistpi doctor URL" in found.sentence) == (Verdict.UNKNOWN, True)


def test_who_does_not_answer_is_told_and_nothing_else_guessed() -> None:
    refused = Exchange(0, "", (), query=Query(URL), failure="Connection refused")
    silent = Site(lambda query: refused, {}, URL, facts={"url": URL})
    (only,) = diagnose(silent, None)
    assert (only.subject, only.verdict) == ("answers", Verdict.WRONG)
    assert "Connection refused" in only.sentence


def upstream(**changes: Any) -> dict[str, Any]:
    (old,) = good_machine().upstreams or ()
    ends = changes.pop("certificate_days", None)
    return {"upstreams": (attrs.evolve(old, exchange=attrs.evolve(old.exchange, **changes), certificate_days=ends),)}


TRUSTING = Settings(serverdir="/srv/twistpi", trusted_proxy=(ip_network("10.0.0.0/8"), ip_network("::/0")))
HERE: dict[str, tuple[str, Verdict, dict[str, Any], str]] = {
    "nothing runs": ("process", Verdict.WRONG, {"running": None}, "twistpi serve --serverdir /srv/twistpi"),
    "it is starting": ("process", Verdict.ADVICE, {"running": Running(7, ())}, "may just be starting"),
    "a full disk": ("disk", Verdict.WRONG, {"disk_free": 1 << 20}, "only 1 MiB of 100 GiB left, and the setting disk-reserve"),
    "a small rest": ("disk", Verdict.ADVICE, {"disk_free": 2 << 30}, "twistpi gc"),
    "too many files": ("disk", Verdict.WRONG, {"inodes_free": 3}, "3 more files"),
    "few descriptors": ("descriptors", Verdict.ADVICE, {"descriptors": 1024}, "LimitNOFILE"),
    "unknown descriptors": ("descriptors", Verdict.UNKNOWN, {"descriptors": None}, "not known"),
    "an open secret": ("secret", Verdict.WRONG, {"open_secret": "/etc/key"}, "chmod 600 /etc/key"),
    "a closed folder": ("file modes", Verdict.OK, {"closed": "/srv"}, "chmod o+x /srv"),
    "hidden files": ("file modes", Verdict.ADVICE, {"hidden": "/srv/twistpi/+files/ab1"}, "chmod o+rX /srv/twistpi/+files/ab1"),
    "a blank password": ("root", Verdict.ADVICE, {"root_is_blank": True}, "twistpi passwd root"),
    "trust in all": (
        "trust",
        Verdict.WRONG,
        {"settings": TRUSTING},
        "Name the proxies only",
    ),
    "no upstream": ("upstream", Verdict.WRONG, upstream(status=0, failure="timed out"), "HTTPS_PROXY"),
    "an upstream with a login": ("upstream", Verdict.WRONG, upstream(status=401), "user:password@"),
    "an ailing upstream": ("upstream", Verdict.WRONG, upstream(status=503), "still served"),
    "an upstream elsewhere": ("upstream", Verdict.ADVICE, upstream(status=404), "address of a simple index"),
    "an old upstream": ("upstream", Verdict.ADVICE, upstream(certificate_days=1.0), "ends in 1 day."),
    "a forward proxy that wants a login": ("upstream", Verdict.WRONG, upstream(status=407), "The forward proxy wants a login"),
    "a tunnel that wants a login": (
        "upstream",
        Verdict.WRONG,
        upstream(status=0, failure="Tunnel connection failed: 407 Proxy Authentication Required"),
        "The forward proxy wants a login",
    ),
    "no upstream wanted": ("upstream", Verdict.OK, {"upstreams": None}, "offline by its settings"),
}


@pytest.mark.parametrize("what", HERE)
def test_what_is_wrong_on_the_machine_is_said_with_what_to_change(what: str) -> None:
    subject, verdict, changes, words = HERE[what]
    found = said(None, attrs.evolve(good_machine(), **changes))[subject]
    assert found.verdict is verdict, found
    assert words in found.sentence


_RESULTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.just("//["),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["result", "login", "root", "indexes", "pypi", "type", "files", "url", "checks", "versioninfo"]),
            inner,
        )
    ),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 100, 200, 206, 404, 413, 502]), st.booleans(), st.binary(max_size=9) | _RESULTS), min_size=1
    )
)
def test_whatever_is_answered_the_doctor_has_something_to_say(answers: list[tuple[int, bool, bytes]]) -> None:
    asked = 0

    def ask(query: Query) -> Exchange:
        nonlocal asked
        asked += 1
        status, ours, body = answers[asked % len(answers)]
        headers = tuple(OURS.items()) if ours else ()
        return Exchange(status, "", headers, body, query=query, failure="" if status else "gone")

    site = survey_server(ask, lambda: NOW, URL, good_machine())
    assert all(finding.sentence for finding in diagnose(site, good_machine()))
    assert asked < 60


def test_nobody_is_asked_for_a_protected_file_with_a_login() -> None:
    asked: list[Query] = []

    def ask(query: Query) -> Exchange:
        asked.append(query)
        return exchange(query.url, body=login(URL))

    diagnose(survey_server(ask, lambda: NOW, URL, good_machine()), good_machine())
    assert [dict(query.headers)["Authorization"] for query in asked if "mine-1.0" in query.url] == ["", ""]
    (upload,) = (query for query in asked if query.method == "POST")
    assert upload.announced == good_machine().settings.max_upload_size
