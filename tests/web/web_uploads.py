"""Uploads as tools send them, to a small server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.archives.made_archives import packed, tar_of
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.web.receiving.form_samples import Part, encode, text
from tests.web.web_asking import Person, add_stage, logged_in
from tests.web.web_wire import JSON_PAGE, Answer, Wire
from tests.web.web_world import World

TYPE = "multipart/form-data; boundary=boundary"
NAME = "demo-pkg"
WHEEL = wheel_name(NAME, "1.0")
SDIST = "demo_pkg-1.0.tar.gz"
DEV = "alice/dev"
PROD = "alice/prod"


def wheel(version: str = "1.0", payload: bytes = b"", requires: Sequence[str] = ("six",), name: str = NAME) -> bytes:
    return make_wheel(name, version, requires, payload)


def sdist(version: str = "1.0", payload: bytes = b"", name: str = NAME) -> bytes:
    top = f"{name.replace('-', '_')}-{version}"
    return packed("a.tar.gz", tar_of({f"{top}/PKG-INFO": metadata(name, version) + b"\nText.\n", f"{top}/data": payload}))


def with_stages(world: World) -> Person:
    """Alice, who has a volatile index and one that is not."""
    world.add_user("alice", None)
    add_stage(world, DEV)
    add_stage(world, PROD, volatile=False)
    return logged_in(world, "alice")


def form(
    filename: str | None,
    content: bytes = b"",
    *,
    more: Sequence[Part] = (),
    without: Sequence[str] = (),
    **fields: str | Sequence[str],
) -> bytes:
    """A form with ``content`` as the file ``filename``, and ``more`` behind it; ``action`` is the field ``:action``."""
    told: dict[str, Any] = {"action": "file_upload", "name": NAME, "version": "1.0", "metadata_version": "2.1", **fields}
    parts = [
        text(name.replace("action", ":action"), value)
        for name, values in told.items()
        if name not in without
        for value in ([values] if isinstance(values, str) else values)
    ]
    if filename is not None:
        parts.append(("content", filename, None, content))
    return encode("boundary", [*parts, *more])


def upload(person: Person, index: str, filename: str | None, content: bytes = b"", **fields: Any) -> Answer:
    """Upload as twine does, without an ``Accept`` header."""
    return post(person, index, form(filename, content, **fields))


def post(person: Person, index: str, body: bytes, **headers: str) -> Answer:
    return person.ask("POST", f"/{index}/", body, **{"accept": "*/*", "content_type": TYPE, **headers})


def reason(answer: Answer) -> str:
    """What the status line says behind the number."""
    return answer.raw.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)[2]


def is_accepted(answer: Answer) -> bool:
    """Whether it is the one answer that every tool takes for a success."""
    return (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def page(world: World, index: str, project: str = NAME) -> Any:
    """The simple page, whichever way it is made."""
    return Wire(world).ask(f"/{index}/+simple/{project}/", accept=JSON_PAGE).json()


def files(world: World, index: str, project: str = NAME) -> Mapping[str, Any]:
    """What the page says of each file."""
    return {file["filename"]: file for file in page(world, index, project)["files"]}


def release(person: Person, index: str, version: str = "1.0", project: str = NAME) -> Any:
    """Version data."""
    return person.get(f"/{index}/{project}/{version}").json()["result"]


def path_of(world: World, index: str, filename: str, project: str = NAME) -> str:
    """Where a file is, below the server."""
    return f"/{index}/{files(world, index, project)[filename]['url'].removeprefix('../../')}"
