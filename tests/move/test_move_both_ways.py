"""A server directory moves into PostgreSQL and a bucket, and back, and nothing is lost or changed."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.backup.backed_up import blobs_in, dump_of, log_in, remove, upload
from tests.backup.test_backup_interrupted import Killed, MortalDisk
from tests.cli.commands import run
from tests.cli.test_commands_compaction import append, busy_years
from tests.cluster.nodes import place as copy_in
from tests.in_reactor import in_reactor
from tests.move.moving import Target, log_id_of, whole_log
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_summary_digest
from twistpi.changelog.summary import summary_path
from twistpi.changelog.summary_fold import FoldedPart, begin_view, fold_summary
from twistpi.cluster.database import Database
from twistpi.model.errors import TwistpiError


@in_reactor
async def test_log_secret_and_files_go_into_a_cluster_and_back_as_they_were(tmp_path: Path, filled: Path, target: Target) -> None:
    def work() -> None:
        first = target.move_in(filled, last=False)
        assert (first.entries, first.files, first.is_complete) == (5, 5, False)
        with pytest.raises(TwistpiError, match="run twistpi move there again until that is complete"):
            target.prepared()
        upload(filled, "demo-2.0.zip")
        remove(filled, "demo-1.1.zip")
        last = target.move_in(filled)
        assert (last.entries, last.files, last.is_complete) == (2, 1, True)
        facts = target.prepared()
        assert (facts.log_id, facts.secret) == (log_id_of(filled), (filled / "secret").read_bytes().strip())
        assert target.lines() == whole_log(filled)
        assert target.keys() >= set(blobs_in(filled))
        assert target.move_in(filled).is_complete

        back = tmp_path / "back"
        target.report_node("a" * 32)
        copied = target.move_out(back)
        assert (copied.entries, copied.files, copied.nodes) == (7, 5, ("a" * 32,))
        assert target.prepared() == facts
        target.run("DELETE FROM twistpi_nodes")
        done = target.move_out(back)
        assert (done.entries, done.files, done.is_complete) == (0, 0, True)
        assert (log_in(back), dump_of(back), blobs_in(back)) == (log_in(filled), dump_of(filled), blobs_in(filled))
        assert (back / "secret").read_bytes() == (filled / "secret").read_bytes()
        assert target.move_out(back).is_complete
        with pytest.raises(TwistpiError, match="its log was moved to /"):
            target.prepared()

        # What is new there comes back into the cluster, and nothing else.
        upload(back, "demo-3.0.zip")
        assert (target.move_in(back).entries, target.lines()) == (1, whole_log(back))
        assert target.prepared() == facts
        assert "all is well" in run(back, "check").output

    await deferToThread(work)


@in_reactor
async def test_a_node_that_still_runs_writes_nothing_once_the_log_left(tmp_path: Path, filled: Path, target: Target) -> None:
    def work() -> None:
        target.move_in(filled)
        log, view = copy_in(tmp_path).open(Database(target.url))
        assert log.append([b'{"n":1}'], log.last.serial).serial == 6
        before = target.lines()
        target.run("DELETE FROM twistpi_lines WHERE serial = 6")
        target.run("UPDATE twistpi_head SET serial = 5, chain = (SELECT chain FROM twistpi_lines WHERE serial = 5)")
        assert before.startswith(target.lines())
        target.move_out(tmp_path / "back")
        with pytest.raises(TwistpiError):
            log.append([b'{"n":2}'], log.last.serial)
        assert target.lines() == whole_log(tmp_path / "back")
        view.close()
        log.close()

    await deferToThread(work)


@in_reactor
async def test_a_move_into_a_cluster_that_is_killed_anywhere_is_completed_by_another_run(filled: Path, target: Target) -> None:
    def work() -> None:
        for steps in count():
            left = steps

            def step(_what: str, _done: int, _total: int) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed

            try:
                done = target.move_in(filled, progress=step)
            except Killed:
                with pytest.raises(TwistpiError, match="run twistpi move there again"):
                    target.prepared()
            else:
                break
        assert steps > 1
        assert done.is_complete
        assert (target.lines(), target.keys()) == (whole_log(filled), set(blobs_in(filled)))
        assert target.prepared().log_id == log_id_of(filled)

    await deferToThread(work)


@in_reactor
async def test_a_move_out_of_a_cluster_that_is_killed_anywhere_is_completed_by_another_run(
    tmp_path: Path, filled: Path, target: Target
) -> None:
    def work() -> None:
        target.move_in(filled)
        back = tmp_path / "back"
        for steps in count():
            try:
                done = target.move_out(back, disk=MortalDisk(steps))
            except Killed:
                if (back / "move.json").exists():
                    assert "run twistpi move again" in run(back, "status").output
            else:
                break
        assert steps > 5
        assert done.is_complete
        assert (log_in(back), dump_of(back), blobs_in(back)) == (log_in(filled), dump_of(filled), blobs_in(filled))

    await deferToThread(work)


@in_reactor
async def test_a_log_that_begins_with_a_summary_goes_into_a_cluster_and_back(tmp_path: Path, made: Path, target: Target) -> None:
    def work() -> None:
        append(made, busy_years(), 2027)
        assert "removed" in run(made, "compact", "--before", "40").output
        target.move_in(made, accept_missing=True)
        assert target.lines() == whole_log(made)
        # A new node gets the summary, and its view says the same.
        copy = copy_in(tmp_path, segment_limit=3000)
        log, view = copy.open(Database(target.url))
        (base, _segments), sha256 = read_base(copy.changelog, Disk()), read_summary_digest(copy.changelog, Disk())
        assert sha256 is not None
        path = summary_path(copy.changelog, base.serial)
        fold_summary(view, path, base, sha256, lambda done, _total: done == 0, step=1)
        view.close()
        log.close()
        # It is stopped meanwhile, and goes on where it was.
        log, view = copy.open(Database(target.url))
        assert FoldedPart.of(view.position) is not None
        begin_view(copy.changelog, Disk(), view)
        catch_up(log, view)
        assert view.position == log.last
        view.close()
        log.close()
        assert dump_of(tmp_path)[1:] == dump_of(made)[1:]
        # It starts again with what it has.
        log, view = copy.open(Database(target.url))
        assert view.position == log.last
        view.close()
        log.close()

        back = tmp_path / "back"
        assert target.move_out(back, accept_missing=True, segment_limit=3000).is_complete
        assert (log_in(back), dump_of(back)[1:]) == (log_in(made), dump_of(made)[1:])

    await deferToThread(work)
