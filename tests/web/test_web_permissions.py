"""Who may do what: everybody times everything, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.web_asking import Person, Worlds, add_mirror, add_stage, logged_in, nobody, serial_of, signed_in
from tests.web.web_wire import Answer
from tests.web.web_world import World
from twistpi.auth import tokens as api_tokens
from twistpi.model.changes import TokenCreated
from twistpi.rules.permissions import Policy
from twistpi.web.forwarding.peers import own_name

LOGINS = ("bob", "alice", "carol", "root", "dave")
TOKENS = {
    "alice-reads": ("alice", "read"),
    "alice-both": ("alice", "read", "upload"),
    "carol-reads": ("carol", "read"),
    "carol-uploads": ("carol", "upload"),
    "root-both": ("root", "read", "upload"),
}
WHO = ("nobody", *LOGINS, *TOKENS)
"""alice owns the indexes, carol stands in their access lists, dave in ``restrict-modify``; names with a dash are API tokens."""

SECRETS = {who: api_tokens.make(os.urandom) for who in TOKENS}
"""Text, public half and digest of each API token."""

FORM = b'--x\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n--x--\r\n'
UPLOAD = {"content_type": "multipart/form-data; boundary=x"}


def _ask(method: str, path: str, body: Any = b"", **headers: str) -> Callable[[Person], Answer]:
    return lambda person: person.ask(method, path, body, **headers)


WHAT: dict[str, Callable[[Person], Answer]] = {
    "create user": _ask("PUT", "/eve", {"password": ""}),
    "modify user": _ask("PATCH", "/alice", {"email": "alice@devpi.example"}),
    "change password": _ask("PATCH", "/alice", {"password": "another"}),
    "delete user": _ask("DELETE", "/bob"),
    "delete keeper": _ask("DELETE", "/alice"),
    "delete the listed user": _ask("DELETE", "/dave"),
    "delete root": _ask("DELETE", "/root"),
    "show user": _ask("GET", "/alice"),
    "list tokens": _ask("GET", "/alice/+tokens"),
    "create token": _ask("POST", "/alice/+tokens", {"may": ["read"]}),
    "revoke token": _ask("DELETE", "/alice/+tokens/0123456789abcdef"),
    "create stage": _ask("PUT", "/alice/new", {}),
    "create mirror": _ask("PUT", "/alice/new", {"type": "mirror", "mirror_url": "https://upstream.example/"}),
    "create another's": _ask("PUT", "/bob/new", {}),
    "read stage": _ask("GET", "/alice/dev"),
    "modify stage": _ask("PATCH", "/alice/dev", ["title=new"]),
    "delete stage": _ask("DELETE", "/alice/dev"),
    "upload to stage": _ask("POST", "/alice/dev", FORM, **UPLOAD),
    "read hidden stage": _ask("GET", "/alice/hidden"),
    "look at hidden stage": _ask("GET", "/alice/hidden/+api"),
    "check hidden stage": _ask("GET", "/+authcheck", x_original_uri="/alice/hidden/+simple/x/"),
    "modify hidden stage": _ask("PATCH", "/alice/hidden", {"title": "new"}),
    "delete hidden stage": _ask("DELETE", "/alice/hidden"),
    "upload to hidden stage": _ask("POST", "/alice/hidden", FORM, **UPLOAD),
    "read mirror": _ask("GET", "/alice/mirror"),
    "modify mirror": _ask("PATCH", "/alice/mirror", {"mirror_url": "https://other.example/"}),
    "delete mirror": _ask("DELETE", "/alice/mirror"),
    "upload to mirror": _ask("POST", "/alice/mirror/", FORM, **UPLOAD),
    "read hidden mirror": _ask("GET", "/alice/veiled"),
    "modify hidden mirror": _ask("PATCH", "/alice/veiled", ["volatile=no"]),
    "delete hidden mirror": _ask("DELETE", "/alice/veiled"),
    "delete kept stage": _ask("DELETE", "/alice/kept"),
    "modify unknown index": _ask("PATCH", "/alice/none", {"title": "new"}),
    "delete unknown index": _ask("DELETE", "/alice/none"),
    "list everything": _ask("GET", "/"),
}

# Columns as in WHO.  "free" is without restrictions, "restricted" with --restrict-modify dave; one of "both" is the same.
TABLE = """
                             nobody bob alice carol root dave al-rd al-both ca-rd ca-up root-both
create user         free       201  201  201   201  201  201   403    403   403   403     403
create user         restricted 403  403  403   403  403  201   403    403   403   403     403
modify user         free       403  403  200   403  200  403   403    403   403   403     403
modify user         restricted 403  403  403   403  403  200   403    403   403   403     403
change password     free       403  403  200   403  200  403   403    403   403   403     403
change password     restricted 403  403  200   403  403  200   403    403   403   403     403
delete keeper       both       403  403  403   403  403  403   403    403   403   403     403
delete user         free       403  200  403   403  200  403   403    403   403   403     403
delete user         restricted 403  403  403   403  403  200   403    403   403   403     403
delete the listed user free    403  403  403   403  200  200   403    403   403   403     403
delete the listed user restricted 403 403 403  403  403  403   403    403   403   403     403
delete root         both       403  403  403   403  403  403   403    403   403   403     403
show user           both       200  200  200   200  200  200   200    200   200   200     200
list tokens         free       403  403  200   403  200  403   403    403   403   403     403
list tokens         restricted 403  403  200   403  403  200   403    403   403   403     403
create token        free       403  403  201   403  201  403   403    403   403   403     403
create token        restricted 403  403  201   403  403  201   403    403   403   403     403
revoke token        free       403  403  404   403  404  403   403    403   403   403     403
revoke token        restricted 403  403  404   403  403  404   403    403   403   403     403
create stage        free       403  403  200   403  200  403   403    403   403   403     403
create stage        restricted 403  403  403   403  403  200   403    403   403   403     403
create mirror       free       403  403  200   403  200  403   403    403   403   403     403
create mirror       restricted 403  403  403   403  403  200   403    403   403   403     403
create another's    free       403  200  403   403  200  403   403    403   403   403     403
create another's    restricted 403  403  403   403  403  200   403    403   403   403     403
read stage          both       200  200  200   200  200  200   200    200   200   200     200
modify stage        free       403  403  200   403  200  403   403    403   403   403     403
modify stage        restricted 403  403  403   403  403  200   403    403   403   403     403
delete stage        free       403  403  201   403  201  403   403    403   403   403     403
delete stage        restricted 403  403  403   403  403  201   403    403   403   403     403
upload to stage     both       401  403  403   400  403  403   403    403   403   400     403
read hidden stage   both       401  403  200   200  200  403   200    200   200   403     200
look at hidden stage both      401  403  200   200  200  403   200    200   200   403     200
check hidden stage  both       401  403  200   200  200  403   200    200   200   403     200
modify hidden stage free       403  403  200   403  200  403   403    403   403   403     403
modify hidden stage restricted 403  403  403   403  403  200   403    403   403   403     403
delete hidden stage free       403  403  201   403  201  403   403    403   403   403     403
delete hidden stage restricted 403  403  403   403  403  201   403    403   403   403     403
upload to hidden stage both    401  403  403   400  403  403   403    403   403   400     403
read mirror         both       200  200  200   200  200  200   200    200   200   200     200
modify mirror       free       403  403  200   403  200  403   403    403   403   403     403
modify mirror       restricted 403  403  403   403  403  200   403    403   403   403     403
delete mirror       free       403  403  201   403  201  403   403    403   403   403     403
delete mirror       restricted 403  403  403   403  403  201   403    403   403   403     403
upload to mirror    both       404  404  404   404  404  404   404    404   404   404     404
read hidden mirror  both       401  403  200   200  200  403   200    200   200   403     200
modify hidden mirror free      403  403  200   403  200  403   403    403   403   403     403
modify hidden mirror restricted 403 403  403   403  403  200   403    403   403   403     403
delete hidden mirror free      403  403  201   403  201  403   403    403   403   403     403
delete hidden mirror restricted 403 403  403   403  403  201   403    403   403   403     403
delete kept stage   both       403  403  403   403  403  403   403    403   403   403     403
modify unknown index both      403  403  403   403  403  403   403    403   403   403     403
delete unknown index both      403  403  403   403  403  403   403    403   403   403     403
list everything     both       200  200  200   200  200  200   200    200   200   200     200
"""


def _cases() -> list[tuple[str, str, bool, int]]:
    cases = []
    for line in TABLE.strip().splitlines()[1:]:
        words = line.split()
        statuses, kind, what = words[-len(WHO) :], words[-len(WHO) - 1], " ".join(words[: -len(WHO) - 1])
        for restricted in (False, True):
            if kind in ("both", "restricted" if restricted else "free"):
                cases += [(what, who, restricted, int(status)) for who, status in zip(WHO, statuses, strict=True)]
    return cases


def make_world(folder: str, *, restricted: bool) -> World:
    world = World(folder, policy=Policy(("dave",) if restricted else None))
    for name in ("alice", "bob", "carol", "dave"):
        world.add_user(name, None)
    add_stage(world, "alice/dev", acl_upload=["carol"])
    add_stage(world, "alice/hidden", acl_upload=["carol"], acl_read=["carol"])
    add_stage(world, "alice/kept", volatile=False)
    add_mirror(world, "alice/mirror")
    add_mirror(world, "alice/veiled", acl_read=["carol"])
    for who, (user, *may) in TOKENS.items():
        _text, public, digest = SECRETS[who]
        world.commit(TokenCreated(public, user, digest, tuple(may)))
    return world


def person(world: World, who: str) -> Person:
    if who in SECRETS:
        return Person(world, f"__token__:{SECRETS[who][0]}")
    return nobody(world) if who == "nobody" else logged_in(world, who)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    made = Worlds(tmp_path_factory.mktemp("permissions"), lambda folder, kind: make_world(folder, restricted=kind))
    yield made
    made.close()


@pytest.mark.parametrize(("what", "who", "restricted", "status"), _cases())
def test_everybody_may_do_what_the_table_says_and_nothing_else(
    worlds: Worlds, what: str, who: str, status: int, *, restricted: bool
) -> None:
    world = worlds.get(restricted)
    before = serial_of(world)
    answer = WHAT[what](person(world, who))
    assert answer.status == status, answer.raw
    assert ("www-authenticate" in answer.headers) == (status == 401)
    if status >= 400:
        assert serial_of(world) == before, "a refusal changed something"
        assert answer.json()["message"]
    elif method_writes(what):
        assert serial_of(world) == before + 1
        assert world.entries[-1][0] == person_name(who)


@pytest.mark.parametrize("what", WHAT)
def test_the_cookie_of_a_browser_reads_as_its_user_does_and_writes_as_nobody(worlds: Worlds, what: str) -> None:
    world = worlds.get(False)
    who = nobody(world) if _asks_for_a_change(what) else logged_in(world, "alice")
    before = serial_of(world)
    answer = WHAT[what](signed_in(world, "alice"))
    if what != "create user":  # which is for everybody
        assert (answer.status, serial_of(world)) == (WHAT[what](who).status, before)
    else:
        assert world.entries[-1][0] == "+anonymous"


def _asks_for_a_change(what: str) -> bool:
    return method_writes(what) or what.startswith("upload")


def method_writes(what: str) -> bool:
    return what.split()[0] in ("create", "modify", "change", "delete", "revoke")


def person_name(who: str) -> str:
    return "+anonymous" if who == "nobody" else who.partition("-")[0]


def test_the_table_has_every_verb_and_everybody() -> None:
    cases = [case[:3] for case in _cases()]
    assert sorted(cases) == sorted((what, who, restricted) for what in WHAT for who in WHO for restricted in (False, True))


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("who", list(WHO))
def test_listings_show_protected_indexes_to_those_who_may_read_them(tmp_path: Path, who: str, *, restricted: bool) -> None:
    world = make_world(str(tmp_path), restricted=restricted)
    try:
        principal = person(world, who)
        may_read = {"alice", "carol", "root", "alice-reads", "alice-both", "carol-reads", "root-both"}
        expected = {"dev", "kept", "mirror"} | ({"hidden", "veiled"} if who in may_read else set())
        assert set(principal.get("/").json()["result"]["alice"]["indexes"]) == expected
        assert set(principal.get("/alice").json()["result"]["indexes"]) == expected
        for path in ("/", "/alice"):
            page = principal.get(path, accept="text/html").content.decode()
            assert all((f"alice/{name}" in page) == (name in expected) for name in ("dev", "hidden", "veiled"))
    finally:
        world.close()


def test_a_login_that_is_not_needed_is_not_looked_at_for_a_challenge(tmp_path: Path) -> None:
    world = make_world(str(tmp_path), restricted=False)
    try:
        wrong = Person(world, "carol:wrong")
        assert wrong.get("/alice/dev").status == 200
        refused = wrong.get("/alice/hidden")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="pypi"')
    finally:
        world.close()


def test_requests_of_the_server_to_itself_reach_only_indexes_that_everybody_may_read(tmp_path: Path) -> None:
    world = make_world(str(tmp_path), restricted=False)
    try:
        own = {"via": f"1.1 proxy, 1.1 {own_name(world.components.node.node_id)}"}
        root = logged_in(world, "root")
        assert root.get("/alice/dev/+simple/", **own).status == 200
        assert logged_in(world, "carol").ask("POST", "/alice/dev/", FORM, **UPLOAD, **own).status == 400, "its form is judged"
        before = serial_of(world)
        refused = [
            root.get("/alice/hidden/+simple/", **own),
            root.ask("POST", "/alice/hidden/", FORM, **UPLOAD, **own),
            root.ask("DELETE", "/alice/dev", **own),
            root.ask("POST", "/+login", {"user": "root", "password": ""}, **own),
            root.ask("PUT", "/eve", {"password": ""}, **own),
            root.get("/alice/nothing/", **own),
        ]
        assert [(answer.status, "of its own" in answer.json()["message"]) for answer in refused] == [(403, True)] * 6
        assert serial_of(world) == before
        assert root.get("/alice/hidden/+simple/", via="1.1 twistpi-another").status == 200
    finally:
        world.close()
