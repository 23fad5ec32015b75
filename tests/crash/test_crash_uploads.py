"""Uploads, pushes and removals that get into each other's way: each happens whole or not at all, and everybody is told which."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest

from tests.crash.uploaders import (
    Answer,
    Uploader,
    at_once,
    is_clean,
    somebody_reads,
    upload_at_the_same_instant,
)
from tests.fakes.distributions import sdist_of, wheel_of
from tests.fakes.live_server import PATIENCE, LiveServer
from tests.live.stages import make_stage
from tests.live.test_live_commands import CHEAP

DEV = "jonathan/dev"
PROD = "jonathan/prod"
NAME = "mypkg"


@pytest.fixture
def uploader(tmp_path: Path) -> Iterator[Uploader]:
    """Jonathan, with a server that has a volatile index of his and one that is not."""
    server = LiveServer(tmp_path / "data", tmp_path / "twistd.log")
    try:
        server.start("--offline", environment=CHEAP)
        make_stage(server, DEV, bases="")
        make_stage(server, PROD, bases="", volatile=False)
        yield Uploader(server, "jonathan")
        if server.process is not None:
            is_clean(server.serverdir)
            server.end()
        assert "Traceback" not in server.told()
    finally:
        server.end(signal.SIGKILL)


def random_bytes(most: int = 3000) -> bytes:
    return os.urandom(random.randrange(most))


def statuses(answers: Sequence[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


def test_R92_thirty_two_uploads_at_once_all_arrive_and_no_reader_sees_half_of_one(uploader: Uploader) -> None:
    sizes = itertools.cycle([100, 70_000, 2_000_000])
    files = [
        make(f"project-{number}", f"{number}.0", os.urandom(next(sizes))) for number in range(16) for make in (wheel_of, sdist_of)
    ]
    with somebody_reads(uploader, DEV, [file.project for file in files[::2]]):
        answers = at_once(*(partial(uploader.upload, DEV, file) for file in files))
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"")}
    for file in files:
        assert uploader.files(DEV, file.project)[file.filename] == file.content


def test_thirty_two_files_of_one_release_arrive_together(uploader: Uploader) -> None:
    wheel = wheel_of(NAME, "1.0", b"x")
    files = [attrs.evolve(wheel, filename=f"mypkg-1.0-{number}-py3-none-any.whl") for number in range(32)]
    answers = upload_at_the_same_instant(uploader, PROD, files)
    assert statuses(answers) == [200] * 32
    assert uploader.digests(PROD, NAME) == {file.filename: wheel.sha256 for file in files}
    assert uploader.files(PROD, NAME)


def test_R81_of_two_uploads_of_one_name_at_the_same_instant_one_wins_and_the_other_is_told(uploader: Uploader) -> None:
    for number in range(12):
        racers = [wheel_of(NAME, f"{number}.0", random_bytes()) for _ in range(2 + number % 3)]
        filename = racers[0].filename
        answers = upload_at_the_same_instant(uploader, PROD, racers)
        assert statuses(answers) == [200] + [409] * (len(racers) - 1)
        refusal = f"{filename} already exists in non-volatile index"
        for answer, file in zip(answers, racers, strict=True):
            if answer.status == 200:
                assert uploader.files(PROD, NAME)[filename] == file.content
            else:
                assert (answer.reason, answer.body) == (refusal, f"{refusal}\n".encode())
                assert uploader.get(f"/{PROD}/{file.path}").status == 404


def test_on_a_volatile_index_the_later_of_two_uploads_at_the_same_instant_stays(uploader: Uploader) -> None:
    for number in range(8):
        racers = [wheel_of(NAME, f"{number}.0", random_bytes()) for _ in range(3)]
        assert statuses(upload_at_the_same_instant(uploader, DEV, racers)) == [200] * 3
        left = uploader.files(DEV, NAME)[racers[0].filename]
        urls = sorted((uploader.get(f"/{DEV}/{file.path}").status, file.content == left) for file in racers)
        assert urls == [(200, True), (410, False), (410, False)]


def test_R80_of_many_identical_uploads_at_once_all_succeed_and_one_counts(uploader: Uploader) -> None:
    for index in (DEV, PROD):
        before = serial(uploader)
        answers = upload_at_the_same_instant(uploader, index, [wheel_of(NAME, "1.0", b"the same")] * 8)
        assert statuses(answers) == [200] * 8
        assert serial(uploader) == before + 1


def serial(uploader: Uploader) -> int:
    found: int = json.loads(uploader.get("/+status", "application/json").body)["result"]["serial"]
    return found


def test_uploads_and_removals_of_one_project_leave_what_came_last(uploader: Uploader) -> None:
    for number in range(10):
        old, new, other = wheel_of(NAME, "1.0", random_bytes()), wheel_of(NAME, "2.0", random_bytes()), sdist_of(NAME, "1.0")
        assert uploader.upload(DEV, old).status == 200
        path = [f"/{DEV}/{NAME}", f"/{DEV}/{NAME}/1.0", f"/{DEV}/{old.path}"][number % 3]
        answers = at_once(
            partial(uploader.upload, DEV, new), partial(uploader.remove, path), partial(uploader.upload, DEV, other)
        )
        assert statuses(answers) == [200] * 3
        left = uploader.files(DEV, NAME)
        assert old.filename not in left
        for file in (old, new, other):
            there = uploader.get(f"/{DEV}/{file.path}").status
            assert there == (200 if file.filename in left else 410)
        if path.endswith(old.filename):
            assert set(left) == {new.filename, other.filename}
        uploader.remove(f"/{DEV}/{NAME}")
        assert uploader.files(DEV, NAME) == {}


def test_a_file_that_is_removed_while_it_is_uploaded_again_is_there_or_gone(uploader: Uploader) -> None:
    file = wheel_of(NAME, "1.0", b"again")
    for _ in range(10):
        assert uploader.upload(DEV, file).status == 200
        again, removed = at_once(partial(uploader.upload, DEV, file), partial(uploader.remove, f"/{DEV}/{file.path}"))
        assert (again.status, removed.status) == (200, 200)
        left = uploader.files(DEV, NAME)
        assert left in ({}, {file.filename: file.content})
        assert uploader.get(f"/{DEV}/{file.path}").status == (200 if left else 410)


def test_a_push_and_an_upload_of_the_same_name_exclude_each_other(uploader: Uploader) -> None:
    winners = set()
    for number in range(20):
        version = f"{number}.0"
        pushed = [wheel_of(NAME, version, b"pushed"), sdist_of(NAME, version, b"pushed")]
        uploaded = wheel_of(NAME, version, b"uploaded")
        for file in pushed:
            assert uploader.upload(DEV, file).status == 200
        push, upload = race(number, partial(uploader.push, DEV, NAME, version, PROD), partial(uploader.upload, PROD, uploaded))
        winners.add("push" if push.status == 200 else "upload")
        found = {name: content for name, content in uploader.files(PROD, NAME).items() if f"-{version}" in name}
        if push.status == 200:
            assert (upload.status, upload.reason) == (409, f"{uploaded.filename} already exists in non-volatile index")
            assert found == {file.filename: file.content for file in pushed}
        else:
            assert (push.status, upload.status) == (409, 200)
            assert found == {uploaded.filename: uploaded.content}, "not even a part of the release was pushed"

    assert winners == {"push", "upload"}


LATER = [0, None, 0.01, 0.005, 0.0, 0.002, 0]
"""Seconds to wait, None for the other's answer: the one counts from the beginning, the other from the end, so that each comes
first at times."""


def race(number: int, push: Callable[[], Answer], upload: Callable[[Callable[[], object]], Answer]) -> list[Answer]:
    """Both at once; the push begins as much later as ``LATER`` says for ``number``, and the upload ends so."""
    pushed, uploaded = threading.Event(), threading.Event()

    def wait(seconds: float | None, other: threading.Event) -> None:
        if seconds is None:
            assert other.wait(PATIENCE)
        else:
            time.sleep(seconds)

    def pushing() -> Answer:
        wait(LATER[number % 7], uploaded)
        try:
            return push()
        finally:
            pushed.set()

    def uploading() -> Answer:
        try:
            return upload(lambda: wait(LATER[-number % 7], pushed))
        finally:
            uploaded.set()

    return at_once(pushing, uploading)


def test_a_push_takes_a_release_as_it_was_before_or_after_an_upload(uploader: Uploader) -> None:
    taken = set()
    for number in range(20):
        version = f"{number}.0"
        wheel, sdist, newer = wheel_of(NAME, version, b"old"), sdist_of(NAME, version), wheel_of(NAME, version, b"new")
        for file in (wheel, sdist):
            assert uploader.upload(DEV, file).status == 200
        push, upload = race(number, partial(uploader.push, DEV, NAME, version, PROD), partial(uploader.upload, DEV, newer))
        assert (push.status, upload.status) == (200, 200)
        found = uploader.files(PROD, NAME)
        taken.add({wheel.content: "old", newer.content: "new"}[found[wheel.filename]])
        assert found[sdist.filename] == sdist.content
        assert uploader.files(DEV, NAME)[wheel.filename] == newer.content
    assert taken == {"old", "new"}


def test_of_two_pushes_at_once_one_pushes(uploader: Uploader) -> None:
    for number in range(6):
        version = f"{number}.0"
        for file in (wheel_of(NAME, version), sdist_of(NAME, version)):
            assert uploader.upload(DEV, file).status == 200
        answers = at_once(*[partial(uploader.push, DEV, NAME, version, PROD)] * 2)
        assert statuses(answers) == [200, 409]
    assert uploader.files(PROD, NAME) == uploader.files(DEV, NAME)


def test_a_push_while_the_release_is_removed_takes_all_or_nothing(uploader: Uploader) -> None:
    for number in range(20):
        version = f"{number}.0"
        files = [wheel_of(NAME, version, random_bytes()), sdist_of(NAME, version, random_bytes())]
        for file in files:
            assert uploader.upload(DEV, file).status == 200
        push, removed = at_once(
            partial(push_after, uploader, 0.002 * (number % 7), version), partial(uploader.remove, f"/{DEV}/{NAME}/{version}")
        )
        assert (push.status, removed.status) in ((200, 200), (400, 200))
        found = {name: content for name, content in uploader.files(PROD, NAME).items() if f"-{version}" in name}
        assert found == ({file.filename: file.content for file in files} if push.status == 200 else {})
        assert uploader.files(DEV, NAME) == {}


def push_after(uploader: Uploader, seconds: float, version: str) -> Answer:
    time.sleep(seconds)
    return uploader.push(DEV, NAME, version, PROD)
