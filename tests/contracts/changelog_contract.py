"""What every changelog does.  A test class inherits ``ChangelogContract`` and gives the fixture ``changelog``."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import attrs
import pytest
from zope.interface.verify import verifyObject

from twistpi.changelog.format import make_line
from twistpi.changelog.interfaces import IChangelog
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import FeedDamaged, LogConflict, UnknownPosition, UnknownSerial


def bodies(*numbers: int) -> list[bytes]:
    """Contents of lines that are told apart by a number."""
    return [b'{"n":%d}' % number for number in numbers]


def raw_lines(*contents: bytes, after: Position = BEGINNING) -> list[bytes]:
    """The lines of ``contents`` in a log that goes on after ``after``, without their line feeds."""
    lines, digest = [], bytes.fromhex(after.chain)
    for serial, content in enumerate(contents, after.serial + 1):
        line, digest = make_line(serial, digest, content)
        lines.append(line[:-1])
    return lines


class ChangelogContract:
    """The behaviour that the writer and followers rely upon."""

    def test_it_provides_the_interface(self, changelog: IChangelog) -> None:
        assert verifyObject(IChangelog, changelog)

    def test_an_empty_log_is_at_the_beginning(self, changelog: IChangelog) -> None:
        assert changelog.last == BEGINNING
        assert list(changelog.read(BEGINNING)) == []
        assert changelog.newest() is None

    def test_lines_get_serials_without_gaps_in_the_order_they_came(self, changelog: IChangelog) -> None:
        changelog.append(bodies(1, 2), 0)
        changelog.append(bodies(3), 2)
        lines = list(changelog.read(BEGINNING))
        assert [line.serial for line in lines] == [1, 2, 3]
        assert [line.body for line in lines] == bodies(1, 2, 3)

    def test_append_returns_where_its_last_line_ends(self, changelog: IChangelog) -> None:
        end = changelog.append(bodies(1, 2), 0)
        assert end == changelog.last == list(changelog.read(BEGINNING))[-1].position
        assert end.serial == 2

    def test_every_line_is_chained_to_the_one_before(self, changelog: IChangelog) -> None:
        changelog.append(bodies(1, 2), 0)
        first, second = changelog.read(BEGINNING)
        assert first.chain == sha256(bytes(32) + b'1 {"n":1}').hexdigest()
        assert second.chain == sha256(bytes.fromhex(first.chain) + b'2 {"n":2}').hexdigest()
        assert (second.position.serial, second.position.chain) == (2, second.chain)

    def test_reading_goes_on_after_any_line(self, changelog: IChangelog) -> None:
        changelog.append(bodies(*range(1, 8)), 0)
        lines = list(changelog.read(BEGINNING))
        for number, line in enumerate(lines, 1):
            assert list(changelog.read(line.position)) == lines[number:]

    def test_the_newest_line_is_at_hand(self, changelog: IChangelog) -> None:
        for number in (1, 2, 3):
            changelog.append(bodies(number), number - 1)
            assert changelog.newest() == list(changelog.read(BEGINNING))[-1]

    @pytest.mark.parametrize("expect", [0, 1, 3])
    def test_an_append_that_expects_another_end_is_refused(self, changelog: IChangelog, expect: int) -> None:
        changelog.append(bodies(1, 2), 0)
        with pytest.raises(LogConflict) as refusal:
            changelog.append(bodies(3), expect)
        assert (refusal.value.expected, refusal.value.actual) == (expect, 2)
        assert changelog.last.serial == 2

    def test_an_append_of_nothing_changes_nothing(self, changelog: IChangelog) -> None:
        end = changelog.append(bodies(1), 0)
        assert changelog.append([], 1) == end
        assert len(list(changelog.read(BEGINNING))) == 1

    def test_a_reader_keeps_to_the_end_there_was_when_it_began(self, changelog: IChangelog) -> None:
        changelog.append(bodies(1, 2), 0)
        reader = changelog.read(BEGINNING)
        assert next(reader).serial == 1
        changelog.append(bodies(3), 2)
        assert [line.serial for line in reader] == [2]

    def test_a_place_of_another_log_is_refused(self, changelog: IChangelog) -> None:
        end = changelog.append(bodies(1, 2), 0)
        strangers: list[Position] = [
            attrs.evolve(end, chain="f" * 64),
            attrs.evolve(end, offset=end.offset - 1),
            attrs.evolve(end, offset=end.offset + 100),
            attrs.evolve(end, serial=3),
            attrs.evolve(end, serial=1),
            attrs.evolve(end, segment=77),
            attrs.evolve(BEGINNING, chain="f" * 64),
        ]
        for stranger in strangers:
            with pytest.raises(UnknownPosition):
                list(changelog.read(stranger))

    def test_long_lines_come_back_whole(self, changelog: IChangelog) -> None:
        long = [b'{"n":"%b"}' % (b"x" * size) for size in (100, 300_000, 1_500_000, 5)]
        changelog.append(long, 0)
        assert [line.body for line in changelog.read(BEGINNING)] == long
        assert changelog.newest() == list(changelog.read(BEGINNING))[-1]

    # What another log has

    def test_received_lines_are_as_if_they_had_been_appended(self, changelog: IChangelog) -> None:
        lines = raw_lines(*bodies(1, 2, 3, 4, 5))
        changelog.receive(lines[:2], 0)
        assert changelog.receive([], 2).serial == 2
        end = changelog.receive(lines[2:], 2)
        assert end == changelog.last == list(changelog.read(BEGINNING))[-1].position
        assert [line.body for line in changelog.read(BEGINNING)] == bodies(1, 2, 3, 4, 5)
        assert end.chain == lines[-1].split(b" ")[1].decode()
        assert changelog.append(bodies(6), 5).serial == 6

    def test_a_received_line_that_does_not_follow_is_refused_with_all_that_came_along(self, changelog: IChangelog) -> None:
        lines = raw_lines(*bodies(1, 2, 3, 4, 5, 6))
        changelog.receive(lines[:2], 0)
        end = changelog.last
        flipped = lines[3].replace(b'"n":4', b'"n":9')
        for came, serial in (
            ([lines[2], flipped, lines[4]], 4),
            ([lines[2], lines[4]], 4),
            ([lines[1], lines[2]], 3),
            ([lines[3]], 3),
            ([lines[2], b""], 4),
            ([lines[2] + b"\n" + lines[3]], 3),
            ([lines[2][:-1]], 3),
            ([raw_lines(*bodies(7, 8, 9))[2]], 3),
        ):
            with pytest.raises(FeedDamaged) as refusal:
                changelog.receive(came, 2)
            assert refusal.value.serial == serial
            assert changelog.last == end
        assert changelog.receive(lines[2:], 2).serial == 6
        assert [line.serial for line in changelog.read(BEGINNING)] == [1, 2, 3, 4, 5, 6]

    def test_a_line_with_a_line_feed_is_refused_though_its_chain_is_right(self, changelog: IChangelog) -> None:
        with pytest.raises(FeedDamaged, match="line feed"):
            changelog.receive(raw_lines(b'{"n":\n1}'), 0)

    def test_lines_can_be_refused_after_they_were_checked(self, changelog: IChangelog) -> None:
        lines = raw_lines(*bodies(1, 2))
        approved: list[bytes] = []

        def refuse(contents: Sequence[bytes]) -> None:
            approved.extend(contents)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            changelog.receive(lines, 0, refuse)
        assert approved == bodies(1, 2)
        assert changelog.last == BEGINNING
        with pytest.raises(FeedDamaged):
            changelog.receive([b"x", *lines], 0, refuse)
        assert len(approved) == 2, "only what is right is shown"
        changelog.receive(lines, 0, approved.extend)
        assert approved == bodies(1, 2, 1, 2)

    def test_lines_are_received_only_where_the_log_is_expected_to_end(self, changelog: IChangelog) -> None:
        lines = raw_lines(*bodies(1, 2))
        changelog.receive(lines, 0)
        with pytest.raises(LogConflict):
            changelog.receive(lines, 0)

    # Where lines are

    def test_every_line_is_found_by_its_serial(self, changelog: IChangelog) -> None:
        sizes = [0, 1, 700, 5, 40_000, 3, 3, 300_000, 0, 511, 512, 513, 9, 1_000_000, 2]
        changelog.append([b'{"n":"%b"}' % (b"x" * size) for size in sizes], 0)
        for line in changelog.read(BEGINNING):
            assert changelog.position(line.serial) == line.position
        assert changelog.position(0) == BEGINNING
        for serial in (-1, len(sizes) + 1, 10**30):
            with pytest.raises(UnknownSerial) as refusal:
                changelog.position(serial)
            assert (refusal.value.first, refusal.value.last) == (1, len(sizes))

    def test_of_many_lines_each_is_found(self, changelog: IChangelog) -> None:
        changelog.append(bodies(*range(1, 300)), 0)
        for line in changelog.read(BEGINNING):
            assert changelog.position(line.serial) == line.position

    def test_segments_hold_all_lines_and_are_chained(self, changelog: IChangelog) -> None:
        assert changelog.segments() == []
        changelog.append(bodies(*range(1, 100)), 0)
        segments = changelog.segments()
        assert [segment.sealed for segment in segments] == [True] * (len(segments) - 1) + [False]
        assert (segments[0].first, segments[0].before) == (1, BEGINNING.chain)
        assert (segments[-1].first, segments[-1].size) == (changelog.last.segment, changelog.last.offset)
        chains = {line.serial: line.chain for line in changelog.read(BEGINNING)}
        assert [segment.before for segment in segments[1:]] == [chains[segment.first - 1] for segment in segments[1:]]
