from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.archives.made_archives import END, ENTRY, garbled, patched, with_zip64_end, zip64_of, zip_of
from twistpi.archives.core_metadata import check_core_metadata
from twistpi.archives.source import DEFAULT_LIMITS
from twistpi.archives.wheel_ranges import ByteRange, find_metadata, read_from
from twistpi.model.errors import InvalidDistribution

WHEEL = "Some.Name-1.0-py3-none-any.whl"
BODY = b"Metadata-Version: 2.1\nName: Some.Name\nVersion: 1.0\nRequires-Dist: other\n\nA description.\n"
INFO = "some_name-1.0.dist-info"
METADATA = f"{INFO}/METADATA"
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def wheel(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    return zip_of(members or (("some_name/__init__.py", b"x = 1\n"), (METADATA, BODY)), compression, comment)


def reader_of(data: bytes, asked: list[ByteRange] | None = None) -> Callable[[int, int], bytes]:
    def read(start: int, length: int) -> bytes:
        assert start >= 0
        assert length > 0
        assert start + length <= len(data)
        if asked is not None:
            asked.append(ByteRange(start, length))
        return data[start : start + length]

    return read


def metadata_of(data: bytes, filename: str = WHEEL) -> bytes:
    return read_from(find_metadata(filename, len(data)), reader_of(data))


def refused(data: bytes, filename: str = WHEEL) -> str:
    with pytest.raises(InvalidDistribution) as caught:
        metadata_of(data, filename)
    return caught.value.reason


@pytest.mark.parametrize("compression", METHODS)
@pytest.mark.parametrize("comment", [b"", b"c", b"PK\x05\x06" * 100, b"x" * 65535])
def test_metadata_of_a_wheel_is_found(compression: int, comment: bytes) -> None:
    assert metadata_of(wheel(compression=compression, comment=comment)) == BODY


def test_small_wheel_is_asked_for_once() -> None:
    data, asked = wheel(), list[ByteRange]()
    assert read_from(find_metadata(WHEEL, len(data)), reader_of(data, asked)) == BODY
    assert asked == [ByteRange(0, len(data))]


def test_large_wheel_needs_only_its_end_when_the_metadata_is_there() -> None:
    data, asked = wheel(("big.bin", bytes(2_000_000)), (METADATA, BODY), compression=zipfile.ZIP_STORED), list[ByteRange]()
    assert read_from(find_metadata(WHEEL, len(data)), reader_of(data, asked)) == BODY
    assert len(asked) == 1
    assert asked[0].length < 70_000


def test_metadata_at_the_front_takes_one_more_range() -> None:
    data, asked = wheel((METADATA, BODY), ("big.bin", bytes(2_000_000)), compression=zipfile.ZIP_STORED), list[ByteRange]()
    assert read_from(find_metadata(WHEEL, len(data)), reader_of(data, asked)) == BODY
    assert len(asked) == 2
    assert asked[1].length < 2_000


def test_long_table_of_contents_is_asked_for_where_the_end_stopped() -> None:
    data, asked = wheel((METADATA, BODY), *((f"m{number}", b"") for number in range(3_000))), list[ByteRange]()
    assert read_from(find_metadata(WHEEL, len(data)), reader_of(data, asked)) == BODY
    seen = [index for start, length in asked for index in (start, start + length)]
    assert len(asked) == 3
    assert seen[2] + asked[1].length == seen[0], "nothing is asked for twice"


def test_zip64_archives_are_read() -> None:
    assert metadata_of(zip64_of({METADATA: BODY})) == BODY
    assert metadata_of(with_zip64_end(wheel())) == BODY


def test_sizes_of_a_member_may_stand_in_its_zip64_field() -> None:
    data = bytearray(wheel((METADATA, BODY), compression=zipfile.ZIP_STORED))
    table = data.rfind(b"PK\x01\x02")
    end = data.rfind(b"PK\x05\x06")
    extra = struct.pack("<2HQQQ", 1, 24, len(BODY), len(BODY), 0)
    data[table + 20 : table + 28] = b"\xff" * 8
    data[table + 42 : table + 46] = b"\xff" * 4
    data[table + 30 : table + 32] = struct.pack("<H", len(extra))
    data[end + 12 : end + 16] = struct.pack("<L", end - table + len(extra))
    data[end:end] = extra
    assert metadata_of(bytes(data)) == BODY


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z]{1,8}(/[a-z_.]{1,8}){0,2}", fullmatch=True), st.binary(max_size=300)),
        max_size=8,
        unique_by=lambda member: member[0],
    ),
    st.integers(0, 8),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=50),
    st.binary(max_size=3_000),
)
def test_any_wheel_gives_its_metadata(
    members: list[tuple[str, bytes]], place: int, compression: int, comment: bytes, description: bytes
) -> None:
    body = BODY + description
    members.insert(min(place, len(members)), (METADATA, body))
    assert metadata_of(wheel(*members, compression=compression, comment=comment)) == body


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_garbled_wheel_is_a_bad_archive_or_still_right(data: st.DataObject) -> None:
    whole = wheel(compression=data.draw(st.sampled_from(METHODS)))
    with contextlib.suppress(InvalidDistribution):
        assert metadata_of(garbled(data.draw, whole)) == BODY


def test_a_wheel_cut_anywhere_is_a_bad_archive() -> None:
    whole = wheel()
    for length in range(len(whole)):
        refused(whole[:length])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_bad_archive(data: bytes) -> None:
    refused(data)


def test_an_answer_of_another_length_is_a_bad_archive() -> None:
    data = wheel()
    with pytest.raises(InvalidDistribution, match="0 bytes arrived"):
        read_from(find_metadata(WHEEL, len(data)), lambda _start, _length: b"")


def test_only_wheels_are_looked_into() -> None:
    assert "only the metadata of wheels" in refused(wheel(), "some_name-1.0.tar.gz")


def test_metadata_of_another_name_is_not_taken() -> None:
    assert "no METADATA" in refused(wheel(("other-1.0.dist-info/METADATA", BODY)))
    assert "no METADATA" in refused(wheel((f"vendored/{INFO}/METADATA", BODY)))


def test_metadata_of_a_vendored_distribution_does_not_disturb() -> None:
    assert metadata_of(wheel(("other-2.0.dist-info/METADATA", b"no"), (METADATA, BODY))) == BODY


def test_of_two_metadata_files_the_last_counts_as_it_does_for_zipfile() -> None:
    assert metadata_of(wheel((METADATA, b"first"), ("Some.Name-1.0.dist-info/METADATA", BODY))) == BODY


@pytest.mark.parametrize("body", [
    BODY.replace(b"1.0", b"2.0"), b"Name: Some.Name\nVersion: 1.0\n", b"Metadata-Version: 2.1\nName: Some.Name\n", b"anything",
])  # fmt: skip
def test_what_a_wheel_says_of_itself_is_not_judged(body: bytes) -> None:
    assert metadata_of(wheel((METADATA, body))) == body


@pytest.mark.parametrize("make", [wheel, lambda: zip64_of({METADATA: BODY}), lambda: with_zip64_end(wheel())])
@pytest.mark.parametrize(("before", "behind"), [(b"", b"\0"), (b"#!python\n", b""), (b"PK", b"PK\x05\x06"), (b"", b"\n" * 2_000)])
def test_bytes_around_the_archive_are_passed_over(make: Callable[[], bytes], before: bytes, behind: bytes) -> None:
    assert metadata_of(before + make() + behind) == BODY


def test_a_bomb_is_not_unpacked() -> None:
    assert "too large" in refused(wheel((METADATA, BODY + bytes(DEFAULT_LIMITS.largest_metadata))))
    for method in METHODS[1:]:
        assert "far more than its size" in refused(wheel((METADATA, BODY + bytes(4 * 1024 * 1024)), compression=method))


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_beyond_the_lie() -> None:
    for method in METHODS[1:]:
        bomb = wheel((METADATA, BODY + bytes(DEFAULT_LIMITS.largest_metadata)), compression=method)
        assert "differs from what the central directory" in refused(patched(bomb, ENTRY, 24, "<L", len(BODY)))


def test_a_table_of_contents_that_claims_too_much_is_not_asked_for() -> None:
    assert "central directory is too large" in refused(patched(wheel(), END, 12, "<L", 2**30))


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 1)], ids=["encrypted", "oddly packed"])
def test_an_encrypted_or_oddly_packed_member_is_refused(offset: int, value: int) -> None:
    assert "no installer supports" in refused(patched(wheel((METADATA, BODY)), ENTRY, offset, "<B", value))


def test_a_wrong_checksum_is_noticed() -> None:
    data = bytearray(wheel((METADATA, BODY), compression=zipfile.ZIP_STORED))
    data[data.index(b"Requires-Dist: o")] ^= 1
    assert "differs from what the central directory" in refused(bytes(data))


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("some_name-1.0-py3-none-any.whl", "1.0.0"),
        ("some_name-1.0+cpu-py3-none-any.whl", "1.0+cpu"),
        ("some_name-1.0_custom-py3-none-any.whl", "1.0+custom"),
        ("some_name-1.0_custom-py3-none-any.whl", "1.0-custom"),
        ("some_name-1.0-1-py3-none-any.whl", "1.0"),
        ("Some.Name-1.0.tar.gz", "1.0"),
    ],
)
def test_core_metadata_fits_its_file(filename: str, version: str) -> None:
    body = f"metadata-version:2.4\r\nNAME : Some-Name\r\nVersion: {version}\r\n\r\ntext".encode()
    check_core_metadata(body, filename)
    with pytest.raises(InvalidDistribution, match="its metadata is of 'Some-Name'"):
        check_core_metadata(body, filename.replace("1", "2", 1))


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_core_metadata_is_fine_or_a_bad_archive(body: bytes, filename: str) -> None:
    with contextlib.suppress(InvalidDistribution):
        check_core_metadata(body, filename)
