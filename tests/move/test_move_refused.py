"""What cannot be moved is refused by name, and nothing is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from twisted.internet.threads import deferToThread

from tests.backup.backed_up import content_of, digest_of
from tests.cli.commands import run
from tests.fakes.postgres import postgres
from tests.in_reactor import in_reactor
from tests.move.moving import Target, log_id_of
from twistpi.blobs.address import blob_address
from twistpi.model.errors import TwistpiError
from twistpi.move.into_cluster import check_movable
from twistpi.rules.replication import Fence
from twistpi.server.node import Node

NODE = Node("a" * 32, "b" * 32, initialised=True)


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(TwistpiError) as refused:
        attempt()
    return str(refused.value)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (attrs.evolve(NODE, is_cache=True), "the cache of a node"),
        (attrs.evolve(NODE, role="replica", primary_url="http://127.0.0.1:9/"), "twistpi promote"),
        (attrs.evolve(NODE, fence=Fence(2)), "another server was promoted"),
        (attrs.evolve(NODE, former_url="http://127.0.0.1:9/"), "does not know yet"),
        (attrs.evolve(NODE, promoting=2), "start it once"),
        (attrs.evolve(NODE, restored_from=7), "start it once"),
    ],
)
def test_a_log_that_is_not_settled_here_is_not_moved(node: Node, told: str) -> None:
    assert told in refusal(lambda: check_movable("/data", node))


@in_reactor
async def test_a_database_or_bucket_of_another_log_stays_as_it_is(tmp_path: Path, filled: Path, target: Target) -> None:
    def work() -> None:
        target.move_in(filled)
        other = tmp_path / "other"
        assert run(other, "init", "--no-root-pypi").exit_code == 0
        before = target.everything()
        assert "has another log" in refusal(lambda: target.move_in(other))
        elsewhere = attrs.evolve(target, url=postgres().new_schema())
        assert "has the files of another changelog" in refusal(lambda: elsewhere.move_in(other))
        assert target.everything() == before
        assert elsewhere.run("SELECT FROM pg_tables WHERE schemaname = current_schema()") == []

    await deferToThread(work)


@in_reactor
async def test_a_directory_that_lacks_entries_of_the_database_is_refused(tmp_path: Path, filled: Path, target: Target) -> None:
    def work() -> None:
        target.move_in(filled, last=False)
        log = filled / "changelog" / "00000000000000000001.log"
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[:-1]))
        (filled / "view.sqlite").unlink()
        before = target.everything()
        assert "has entries up to serial 5 that" in refusal(lambda: target.move_in(filled))
        assert target.everything() == before

    await deferToThread(work)


@in_reactor
async def test_an_uploaded_file_that_is_lost_is_named_before_the_move_is_completed(filled: Path, target: Target) -> None:
    def work() -> None:
        lost = filled / "+files" / blob_address(digest_of("demo-1.0.zip"), "demo-1.0.zip").relative
        lost.unlink()
        told = refusal(lambda: target.move_in(filled))
        assert "demo-1.0.zip" in told
        assert "--accept-missing" in told
        assert "run twistpi move there again" in refusal(target.prepared)
        # What is there again is copied, whatever was known before.
        lost.parent.mkdir(exist_ok=True)
        lost.write_bytes(content_of("demo-1.0.zip"))
        assert target.move_in(filled).files == 1
        assert target.prepared().log_id == log_id_of(filled)

    await deferToThread(work)


@in_reactor
async def test_only_an_empty_directory_or_one_that_had_the_log_takes_a_cluster(
    tmp_path: Path, filled: Path, target: Target
) -> None:
    def work() -> None:
        assert "There is no log" in refusal(lambda: target.move_out(tmp_path / "new"))
        assert not (tmp_path / "new").exists()
        target.move_in(filled, last=False)
        assert "complete that first" in refusal(lambda: target.move_out(tmp_path / "new"))
        target.move_in(filled)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "notes.txt").write_text("x")
        assert "notes.txt" not in refusal(lambda: target.move_out(tmp_path / "full"))
        assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
        assert "it is not empty" in refusal(lambda: target.move_out(filled))
        # Another one than that to which it went has to wait until it is back.
        target.move_out(tmp_path / "new")
        assert f"was moved to {tmp_path / 'new'}" in refusal(lambda: target.move_out(tmp_path / "newer"))

    await deferToThread(work)


def test_a_directory_whose_log_was_moved_serves_no_more_until_it_is_back(made: Path) -> None:
    node = json.loads((made / "node.json").read_text())
    (made / "node.json").write_text(json.dumps({**node, "moved_to": "db/twistpi"}))
    for command in (["passwd", "--stdin", "root"], ["gc"]):
        told = run(made, *command, told="sesame12\n")
        assert told.exit_code == 1
        assert "its log was moved to the database at db/twistpi" in told.output
    assert run(made, "log").exit_code == 0


def test_a_command_that_names_no_way_or_two_says_which_there_are(made: Path) -> None:
    for words in ([], ["--to-changelog", "postgresql://db/x", "--from-blobs", "s3://x"], ["--to-blobs", "s3://x"]):
        told = run(made, "move", *words)
        assert told.exit_code == 2
        assert "name --to-changelog with --to-blobs, or --from-changelog with --from-blobs" in told.output
