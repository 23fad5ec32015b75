"""After any changes in any order every path gives the same answer, and nobody sees what is closed to them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.web.web_asking import basic
from tests.web.web_wire import JSON_PAGE, Wire, read_answer, request_bytes
from tests.web.web_world import MIRROR, World, link, sha256
from twistpi.model.changes import Change, FileCached, IndexCreated, IndexDeleted, IndexModified, LinksChanged
from twistpi.model.releases import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)
from twistpi.view.page_cache import PageCache
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.routes import make_site

STAGES = ("alice/dev", "corp/base")
INDEXES = (*STAGES, MIRROR)
PROJECT = "demo"
FILES = {index: link(f"demo-{number}.0.tar.gz", index.encode()) for number, index in enumerate(INDEXES, 1)}
"""What each index has, once it has something."""

ACLS = st.sampled_from([None, [], ["alice"], ["bob"], [":AUTHENTICATED:"], [":ANONYMOUS:"]])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "acl_read": ACLS,
    "bases": st.lists(st.sampled_from([*INDEXES, "corp/ghost"]), max_size=3),
    "mirror_whitelist": st.sampled_from([[], [PROJECT], ["*"]]),
    "mirror_whitelist_inheritance": st.sampled_from(["union", "intersection"]),
}
MIRROR_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "acl_read": ACLS,
    "mirror_url": st.sampled_from(["https://upstream.example/simple/", "https://other.example/simple/"]),
}


def _values(index: str) -> dict[str, st.SearchStrategy[Any]]:
    return VALUES if index in STAGES else MIRROR_VALUES


@st.composite
def configs(draw: st.DrawFn, index: str) -> dict[str, Any]:
    kind = "stage" if index in STAGES else "mirror"
    drawn = {key: draw(values) for key, values in _values(index).items()}
    return {"type": kind, **{key: value for key, value in drawn.items() if value is not None}}


@st.composite
def steps(draw: st.DrawFn) -> tuple[Change, ...]:
    """The changes of one entry, which speak of one index; that it comes to be stands also for that it goes."""
    index = draw(st.sampled_from(INDEXES))
    kind = draw(st.sampled_from(["modify", "modify", "files", "files", "come or go"]))
    if kind == "come or go":
        return (IndexCreated(index, draw(configs(index))),)
    if kind == "files" and index in STAGES:
        return draw(st.sampled_from(_of_a_release(index)))
    if kind == "files":
        file, body = FILES[index], index.encode()
        cached = FileCached(index, PROJECT, file.filename, sha256(body), len(body))
        return (LinksChanged(index, PROJECT, added=(file,)), cached)
    key = draw(st.sampled_from(sorted(_values(index))))
    value = draw(_values(index)[key])
    return (IndexModified(index, removed=(key,)) if value is None else IndexModified(index, {key: value}),)


def _of_a_release(index: str) -> list[tuple[Change, ...]]:
    """What can happen to a private release."""
    file, body = FILES[index], index.encode()
    version = file.filename.removeprefix(f"{PROJECT}-").removesuffix(".tar.gz")
    described = ReleaseDescribed(index, PROJECT, version, {"name": PROJECT, "version": version})
    path, digest = f"+f/fff/ffffffffffff0/{PROJECT}.doc.zip", "f" * 64
    return [
        (described,),
        (described, FileUploaded(index, PROJECT, version, file.filename, sha256(body), len(body))),
        (described, FileUploaded(index, PROJECT, version, file.filename, sha256(b"other"), 5)),
        (FileRemoved(index, PROJECT, file.filename),),
        (ReleaseRemoved(index, PROJECT, version),),
        (ProjectRemoved(index, PROJECT),),
        (FileYanked(index, PROJECT, file.filename, "why"),),
        (FileYanked(index, PROJECT, file.filename, False),),
        *((ProjectMarked(index, PROJECT, status),) for status in ("archived", "quarantined", None)),
        (described, AttachmentAdded(index, PROJECT, version, "doczip", path.rpartition("/")[2], digest, 3, path)),
        (AttachmentRemoved(index, PROJECT, path),),
    ]


@attrs.frozen
class AnotherServer:
    """The same facts at a site whose caches are empty."""

    site: Any
    clock: Any
    on_close: list[Any] = attrs.field(factory=list)

    @classmethod
    def of(cls, world: World) -> AnotherServer:
        components = attrs.evolve(world.components, ready=ReadyAnswers(PageCache(1024 * 1024)))
        components.responder.default_headers.moved(world.view.position.serial, world.clock.seconds())
        return cls(make_site(components), world.clock)


def _path_of_file(index: str) -> str:
    digest = sha256(index.encode())
    return f"/{index}/+f/{digest[:3]}/{digest[3:16]}/{FILES[index].filename}"


PATHS = [f"/{index}/+simple/{PROJECT}/" for index in INDEXES] + [_path_of_file(index) for index in INDEXES] + ["/alice/dev/demo"]
PRINCIPALS = (None, "alice", "bob")


def _question(principal: str | None, path: str) -> bytes:
    headers = {"accept": JSON_PAGE, "user_agent": "pip/26.3"}
    if principal is not None:
        headers["authorization"] = f"Basic {basic(f'{principal}:{principal}')}"
    return request_bytes(path, **headers)


def _may_read(world: World, principal: str | None, index: str) -> bool:
    """What ``acl_read`` means, said once more in the simplest words."""
    found = world.readers.get().index(index)
    if found is None:
        return False
    acl = found.config.get("acl_read")
    if acl is None or ":ANONYMOUS:" in acl:
        return True
    return principal is not None and (":AUTHENTICATED:" in acl or principal in acl or index.startswith(f"{principal}/"))


def _check(world: World) -> None:
    slow, fast, fresh = Wire(world, fast=False), Wire(world), Wire(AnotherServer.of(world), fast=False)  # type: ignore[arg-type]
    for principal in PRINCIPALS:
        for path in PATHS:
            answers = [wire.send(_question(principal, path)) for wire in (slow, fast, fast, fresh)]
            assert len(set(answers)) == 1, (principal, path)
            answer = read_answer(answers[0])
            assert answer.status in (200, 401, 403, 404, 410)
            assert answer.status != (403 if principal is None else 401)
            for index, file in FILES.items():
                if not _may_read(world, principal, index):
                    assert file.filename.encode() not in answer.content
                    assert index.encode() != answer.content
            if not _may_read(world, None, "/".join(path.split("/")[1:3])):
                assert "public" not in answer.headers["cache-control"]
    for wire in (slow, fast, fresh):
        wire.lose()


CLOSED: dict[str, Any] = {"type": "stage", "acl_read": ["alice"]}
INHERITING: dict[str, Any] = {"type": "stage", "bases": ["corp/base", MIRROR]}


@settings(max_examples=5)
@example({"type": "stage", "bases": ["corp/ghost", *INHERITING["bases"]]}, CLOSED, [(IndexCreated("corp/base", CLOSED),)] * 3)
@example(INHERITING, CLOSED, [(IndexModified("corp/base", removed=("acl_read",)),), (IndexModified("corp/base", CLOSED),)])
@example(INHERITING, {"type": "stage"}, [one for one in _of_a_release("corp/base") for _ in range(2)])
@example(INHERITING, {"type": "stage"}, [*reversed(_of_a_release("corp/base")), *_of_a_release("alice/dev")])
@given(configs("alice/dev"), configs("corp/base"), st.lists(steps(), max_size=6))
def test_every_way_gives_the_same_answer_and_only_what_may_be_seen(
    dev: dict[str, Any], base: dict[str, Any], entries: list[tuple[Change, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        for name in ("alice", "bob"):
            world.add_user(name, name)
        world.commit(IndexCreated("alice/dev", dev), IndexCreated("corp/base", base))
        for index, file in FILES.items():
            world.list_links(PROJECT, [file], index=index)
            world.cache_file(PROJECT, file, index.encode(), index)
        _check(world)
        for changes in entries:
            if _commit(world, changes):
                _check(world)
        world.close()


def _commit(world: World, changes: Sequence[Any]) -> bool:
    """Whether there was anything to change."""
    first = changes[0]
    exists = world.readers.get().index(first.index) is not None
    if isinstance(first, IndexCreated) and exists:
        world.commit(IndexDeleted(first.index))
    elif isinstance(first, IndexCreated) or exists:
        world.commit(*changes)
    else:
        return False
    return True
