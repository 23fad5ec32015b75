"""What every changelog does.  A test class inherits ``ChangelogContract`` and gives the fixture ``changelog``."""

from __future__ import annotations

from hashlib import sha256

import attrs
import pytest
from zope.interface.verify import verifyObject

from twistpi.changelog.interfaces import IChangelog
from twistpi.model.errors import LogConflict, UnknownPosition
from twistpi.model.position import BEGINNING, Position


def bodies(*numbers: int) -> list[bytes]:
    """Contents of lines that are told apart by a number."""
    return [b'{"n":%d}' % number for number in numbers]


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
