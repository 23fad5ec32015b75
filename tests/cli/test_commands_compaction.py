"""``twistpi compact`` and ``twistpi check --archive`` on server directories without a server."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs
import pytest

from tests.cli.commands import entries, looking, now, run, settings
from tests.fakes.dying_process import die_after
from tests.view.small_world import link
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import BASE_NAME, read_base, sort_segments
from twistpi.changelog.summary_fold import FoldedPart
from twistpi.model.changes import Change, Entry, LinksChanged, TokenCreated, UserCreated, UserModified
from twistpi.model.codec import encode_content
from twistpi.model.releases import FileRemoved, FileUploaded, ReleaseDescribed
from twistpi.server.node import read_node
from twistpi.server.storage import Storage
from twistpi.view.database import drop_view, dump, open_view

INDEX, STAGE = "root/pypi", "carol/dev"
DIGEST = "d" * 64


def busy_years() -> list[list[Change]]:
    """A link whose title changes all the time, and a few things that happen once."""
    happened: list[list[Change]] = [
        [UserCreated("ann", {"title": "Ann"}, "$argon2", "2020-01-01T00:00:00Z")],
        [TokenCreated("0" * 16, "ann", DIGEST, ("read", "upload"), title="laptop")],
        [LinksChanged(INDEX, "demo", added=(link(),))],
        [ReleaseDescribed(STAGE, "own", "1.0", {"name": "Own"}), FileUploaded(STAGE, "own", "1.0", "own-1.0.zip", DIGEST, 3)],
        [FileUploaded(STAGE, "own", "2.0", "own-2.0.zip", DIGEST, 3)],
        [FileRemoved(STAGE, "own", "own-2.0.zip")],
    ]
    for number in range(40):
        happened.append([LinksChanged(INDEX, "demo", changed=(attrs.evolve(link(), requires_python=f">=3.{number}"),))])
        happened.append([UserModified("ann", {"title": f"Ann {number}"})])
    return happened


def append(path: Path, happened: list[list[Change]], year: int) -> None:
    """Append entries, one each hour, in segments of about ten."""
    with closing(FileChangelog.open(str(path / "changelog"), Disk(), segment_limit=3000)) as log:
        bodies = []
        for number, changes in enumerate(happened):
            at = f"{year}-01-{1 + number // 24:02d}T{number % 24:02d}:00:00.000000Z"
            bodies.append(encode_content(at, "ann", changes))
        log.append(bodies, log.last.serial)
    Storage.open(settings(path), now, Disk()).close()


@pytest.fixture
def old(made: Path) -> Path:
    """A server directory with a log of several segments."""
    append(made, busy_years(), 2027)
    return made


def segments(path: Path) -> list[int]:
    return sort_segments(os.listdir(path / "changelog"))


def content(path: Path) -> Sequence[object]:
    """What the view says, without its stamp."""
    with looking(path):
        return list(dump(str(path / "view.sqlite")))[1:]


def wrong(path: Path, *options: str) -> list[str]:
    findings = json.loads(run(path, "check", "--json", *options).stdout)["findings"]
    texts = [finding["text"] for finding in findings if finding["wrong"]]
    return [text for text in texts if "own-" not in text]  # the files were never there


def compacted(path: Path, before: str, *options: str) -> dict[str, object]:
    done = run(path, "compact", "--before", before, "--json", *options)
    assert done.exit_code == 0, done.output
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_what_would_go_is_told_and_nothing_is_changed(old: Path) -> None:
    before = {name: (old / "changelog" / name).read_bytes() for name in os.listdir(old / "changelog")}
    _first, second, third = segments(old)[:3]
    told = run(old, "compact", "--before", str(third + 1), "--dry-run")
    assert told.stdout.startswith(f"The entries 1 to {third - 1}, ")
    assert "in 2 segments, would be removed; nothing was changed." in told.stdout
    nothing = run(old, "compact", "--before", str(second - 1), "--dry-run").stdout
    assert nothing.startswith(f"Nothing to compact: no segment after serial 0 ends before serial {second - 1},")
    assert {name: (old / "changelog" / name).read_bytes() for name in os.listdir(old / "changelog")} == before
    refused = run(old, "compact", "--before", "soon")
    assert (refused.exit_code, "soon is neither a serial nor a date" in refused.output) == (2, True)


def test_the_view_is_built_from_the_summary_and_the_rest(old: Path) -> None:
    whole, last = content(old), segments(old)[-1]
    told = compacted(old, "2100-01-01")
    assert (told["first"], told["last"]) == (1, last - 1)
    assert segments(old) == [last], "the segment that grows stays"
    assert content(old) == whole
    drop_view(str(old / "view.sqlite"))
    assert content(old) == whole
    assert wrong(old) == []
    newest = entries(old, last - 1)[-1]
    (named,) = newest["changes"]
    assert (newest["by"], named["kind"], named["after"], named["sha256"]) == (
        "+compact", "HistoryCompacted", last - 1, told["sha256"],
    )  # fmt: skip


def test_a_date_keeps_every_entry_from_then_on(old: Path) -> None:
    day = "2027-01-02T12:00"
    kept = [entry["serial"] for entry in entries(old, 0) if entry["at"] >= day]
    compacted(old, day)
    told = run(old, "log", "--json", "--since", day)
    assert [json.loads(line)["serial"] for line in told.stdout.splitlines()][:-1] == kept
    assert told.stderr == ""
    assert "); the older entries were compacted." in run(old, "log").stderr


def test_years_later_a_summary_replaces_the_summary_and_the_archive_goes_on(old: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    every = [entry["chain"] for entry in entries(old, 0)]
    third = segments(old)[2]
    compacted(old, str(third), "--archive", str(archive))
    append(old, busy_years()[6:], 2028)
    whole = content(old)
    compacted(old, "2100-01-01", "--archive", str(archive))
    assert content(old) == whole
    summaries = [name for name in os.listdir(old / "changelog") if name.startswith("summary")]
    assert len(summaries) == 1
    assert wrong(old, "--archive", str(archive)) == []
    archived = [line.split(b" ")[1].decode() for path in sorted(archive.glob("*.log")) for line in path.read_bytes().splitlines()]
    assert archived[: len(every)] == every[: len(archived)]
    begins_after = read_base(str(old / "changelog"), Disk())[0].serial
    assert f"the archive has the entries 1 to {begins_after}" in run(old, "check", "--archive", str(archive)).stdout


def test_an_archive_that_begins_later_says_what_is_before_it(old: Path, tmp_path: Path) -> None:
    compacted(old, str(segments(old)[1]))
    begin = segments(old)[0]
    archive = tmp_path / "archive"
    compacted(old, "2100-01-01", "--archive", str(archive))
    assert wrong(old, "--archive", str(archive)) == []
    assert f"the archive has the entries {begin} to" in run(old, "check", "--archive", str(archive)).stdout


def test_an_archive_of_another_log_is_refused_and_nothing_is_changed(old: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    compacted(old, str(segments(old)[1]), "--archive", str(archive))
    compacted(old, str(segments(old)[1]))
    left = segments(old)
    refused = run(old, "compact", "--before", str(left[1]), "--archive", str(archive))
    assert (refused.exit_code, "is no archive of the entries of this log up to serial" in refused.output) == (1, True)
    assert segments(old) == left


def test_an_archive_that_misses_a_compaction_is_told_with_what_it_lacks(old: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    compacted(old, str(segments(old)[1]), "--archive", str(archive))
    archived = segments(old)[0] - 1
    compacted(old, "2100-01-01")
    (found,) = wrong(old, "--archive", str(archive))
    assert f"goes up to serial {archived}: the entries {archived + 1} to {segments(old)[0] - 1}" in found
    other = str(tmp_path / "other")
    with closing(FileChangelog.open(other, Disk())) as log:
        log.append([encode_content("2027-01-01T00:00:00.000000Z", "eve", [])] * (segments(old)[0] - 1), 0)
    (found,) = wrong(old, "--archive", other)
    assert f"has another line {segments(old)[0] - 1} than" in found


def test_damage_is_found_in_archive_and_summary(old: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "archive", old / "changelog"
    compacted(old, "2100-01-01", "--archive", str(archive))
    part = sorted(archive.glob("*.log"))[1]
    part.write_bytes(part.read_bytes().replace(b"Ann", b"Eve", 1))
    assert any("damaged at serial" in text for text in wrong(old, "--archive", str(archive)))
    (summary,) = folder.glob("summary-*")
    lines = gzip.decompress(summary.read_bytes())
    summary.write_bytes(gzip.compress(lines.replace(b'"title":"Ann', b'"title":"Eve', 1)))
    assert any("its lines have the SHA-256" in text for text in wrong(old))
    drop_view(str(old / "view.sqlite"))
    refused = run(old, "passwd", "ann", told="secret\nsecret\n")
    assert (refused.exit_code, "its lines have the SHA-256" in refused.output) == (1, True)
    summary.write_bytes(gzip.compress(lines))
    assert wrong(old) == []


def test_a_summary_in_place_of_the_one_that_the_chain_names_is_found(old: Path) -> None:
    sha256 = str(compacted(old, "2100-01-01")["sha256"])
    base = old / "changelog" / BASE_NAME
    base.write_text(base.read_text().replace(sha256, "e" * 64))
    assert any("names another one" in text for text in wrong(old))


@pytest.mark.parametrize("removed", [0, 1])
def test_what_an_interruption_left_is_removed_at_the_next_start(old: Path, removed: int) -> None:
    folder, whole = old / "changelog", content(old)
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    compacted(old, "2100-01-01")
    after = set(os.listdir(folder))
    for name in sorted(before.keys() - after)[removed:]:
        (folder / name).write_bytes(before[name])
    assert content(old) == whole
    assert set(os.listdir(folder)) == after


def test_a_view_that_a_power_failure_took_back_is_built_anew(old: Path) -> None:
    early = (old / "view.sqlite").read_bytes()
    append(old, busy_years()[6:], 2028)
    whole = content(old)
    compacted(old, "2100-01-01")
    drop_view(str(old / "view.sqlite"))
    (old / "view.sqlite").write_bytes(early)
    assert wrong(old) == []
    assert content(old) == whole


def test_a_view_with_a_part_of_another_summary_is_built_anew(old: Path) -> None:
    compacted(old, "2100-01-01")
    whole, node = content(old), read_node(str(old))
    assert node is not None
    drop_view(str(old / "view.sqlite"))
    with closing(open_view(str(old / "view.sqlite"), node.log_id)) as view:
        view.begin()
        view.apply(Entry(1, "2027-01-01T00:00:00.000000Z", "eve", (UserCreated("eve"),)))
        view.commit(FoldedPart("e" * 64, 10, 99).position)
    assert wrong(old) == []
    assert content(old) == whole


def test_killed_at_any_step_it_leaves_the_former_changelog_or_the_new_one(old: Path, tmp_path: Path) -> None:
    whole, options = content(old), ("compact", "--before", "2100-01-01", "--archive", str(tmp_path / "archive"))
    beginnings = set()
    for steps in range(0, 200, 2):
        path = Path(shutil.copytree(old, tmp_path / f"try{steps}"))
        finished = die_after(steps, path, partial(run, path, *options), "summary-")
        assert content(path) == whole
        begins_after = read_base(str(path / "changelog"), Disk())[0].serial
        beginnings.add(begins_after)
        names = os.listdir(path / "changelog")
        assert begins_after + 1 == sort_segments(names)[0]
        if steps % 8 == 0 or finished:
            assert wrong(path) == []
            if begins_after == 0:
                compacted(path, "2100-01-01", "--archive", str(tmp_path / "archive"))
            assert content(path) == whole
            assert wrong(path, "--archive", str(tmp_path / "archive")) == []
        shutil.rmtree(path)
        if finished:
            assert (steps > 10, len(beginnings)) == (True, 2)
            return
    raise AssertionError("it never came to an end")
