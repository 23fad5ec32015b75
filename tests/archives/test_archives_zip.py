from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.archives.made_archives import (
    BODY,
    END,
    ENTRY,
    INFO,
    LOCAL,
    SDIST_MEMBERS,
    TOP,
    WHEEL,
    WHEEL_MEMBERS,
    ZIP_SDIST,
    Counting,
    Made,
    bounded,
    garbled,
    look_into,
    look_into_file,
    patched,
    refused,
    with_zip64_end,
    zip64_of,
    zip_link,
    zip_of,
)
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from twistpi.archives.inspect import check_is_archive
from twistpi.archives.source import Limits
from twistpi.model.errors import InvalidDistribution


def without(name: str) -> bytes:
    return zip_of({path: body for path, body in WHEEL_MEMBERS.items() if path != name})


def with_member(name: str | zipfile.ZipInfo, body: bytes = b"") -> bytes:
    return zip_of([(name, body), *WHEEL_MEMBERS.items()])


# What is taken -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_gives_its_metadata_as_it_lies_in_it_and_as_values(compression: int) -> None:
    found = look_into(zip_of(compression=compression), WHEEL)
    assert (found.kind, found.metadata) == ("wheel", BODY)
    assert found.core is not None
    assert (found.core.name, found.core.version) == ("Some.Name", "1.0")
    assert found.core.fields["requires_dist"] == ["other"]


def test_a_real_wheel_is_taken() -> None:
    data = make_wheel("some-name", "1.0", payload=bytes(100_000))
    found = look_into(data, wheel_name("some-name", "1.0"))
    assert found.metadata == metadata("some-name", "1.0")


@pytest.mark.parametrize(
    ("filename", "info", "name", "version"),
    [
        ("My.Pkg-1.0-py3-none-any.whl", "my_pkg-1.0", "my-pkg", "1.00"),
        ("my_pkg-1.0-py3-none-any.whl", "My.Pkg-1.0", "My.Pkg", "1"),
        ("my_pkg-1.0+cpu-py3-none-any.whl", "my_pkg-1.0+cpu", "my_pkg", "1.0+cpu"),
        ("my_pkg-1.0_custom-py3-none-any.whl", "my_pkg-1.0_custom", "my_pkg", "1.0-custom"),
        ("my_pkg-1.0-7-py3-none-any.whl", "my_pkg-1.0", "my_pkg", "1.0"),
        ("my_pkg-1!2.0rc1-py3-none-any.WHL", "my_pkg-1!2.0rc1", "my_pkg", "1!2.0.rc1"),
    ],
)
def test_R87_a_wheel_may_spell_its_name_and_version_in_several_ways(filename: str, info: str, name: str, version: str) -> None:
    members = {f"{info}.dist-info/{part}": b"" for part in ("WHEEL", "RECORD")} | {
        f"{info}.dist-info/METADATA": metadata(name, version)
    }
    core = look_into(zip_of(members), filename).core
    assert core is not None
    assert (core.name, core.version) == (name, version)


def test_an_egg_gives_its_metadata() -> None:
    data = zip_of({"EGG-INFO/PKG-INFO": BODY, "some_name/__init__.py": b"", "EGG-INFO/zip-safe": b"\n"})
    found = look_into(data, "Some.Name-1.0-py3.11.egg")
    assert (found.kind, found.metadata) == ("egg", BODY)


def test_a_zipped_sdist_gives_its_metadata() -> None:
    found = look_into(zip_of([(f"{TOP}/", b""), *SDIST_MEMBERS.items()]), ZIP_SDIST)
    assert (found.kind, found.metadata) == ("sdist", BODY)
    assert look_into(zip_of({f"{TOP}/setup.py": b""}), ZIP_SDIST).metadata is None


@pytest.mark.parametrize(
    "filename", ["a-1.0.exe", "a-1.0-1.noarch.rpm", "a_1.0.deb", "a-1.0.dmg", "a-1.0.msi", "a-1.0.linux-x86_64.tar.gz"]
)
def test_what_is_no_python_package_is_not_looked_into(filename: str) -> None:
    file = Counting(b"anything")
    found = look_into_file(file, filename, 8)
    assert (found.kind, found.metadata, found.core) == ("other", None, None)
    assert not file.given


def test_a_member_may_be_described_behind_it() -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in WHEEL_MEMBERS.items():
            archive.writestr(name, body)
    assert look_into(buffer.getvalue(), WHEEL).metadata == BODY


def test_zip64_archives_are_taken() -> None:
    assert look_into(zip64_of(WHEEL_MEMBERS), WHEEL).metadata == BODY
    assert look_into(with_zip64_end(zip_of()), WHEEL).metadata == BODY


def test_a_huge_wheel_costs_a_lenient_inspection_a_few_small_reads() -> None:
    names = [*WHEEL_MEMBERS, "some_name/data.bin"]
    small = zip_of({**WHEEL_MEMBERS, names[-1]: b""}, zipfile.ZIP_STORED)
    payload = 3 * 1024 * 1024 * 1024
    # The last member grows to 3 GiB that are never on disk: only its sizes and what stands behind it change.
    cut = small.find(ENTRY)
    local = small.rfind(LOCAL)
    head = patched(patched(small[:cut], LOCAL, 18, "<L", payload), LOCAL, 22, "<L", payload)
    table = patched(patched(small[cut:], ENTRY, 20, "<L", payload), ENTRY, 24, "<L", payload)
    table = patched(table, END, 16, "<L", cut + payload)
    assert local < cut

    def make(start: int, length: int) -> bytes:
        assert start + length <= cut or start >= cut + payload - 70_000, "the payload is left alone"
        if start + length <= cut:
            return head[start : start + length]
        behind = start - cut - payload
        return bytes(max(0, -behind)) + table[max(0, behind) : behind + length]

    file = Made(cut + payload + len(table), make)
    with bounded(mebibytes=2):
        assert look_into_file(file, WHEEL, file.size, is_strict=False).metadata == BODY
    assert file.given < 80_000


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_with_another_checksum_is_refused(compression: int) -> None:
    payload = b"x = 1\n" * 50_000
    for filename, members in ((WHEEL, WHEEL_MEMBERS), (ZIP_SDIST, SDIST_MEMBERS)):
        name = f"{TOP}/data"
        good = zip_of({**members, name: payload}, compression)
        bad = good.replace(zlib.crc32(payload).to_bytes(4, "little"), b"\1\2\3\4")
        assert bad != good
        assert refused(bad, filename) == f"its {name!r} differs from what the central directory says"
        assert look_into(bad, filename, is_strict=False).metadata == BODY


def test_a_strict_inspection_of_a_large_member_takes_little_memory() -> None:
    data = zip_of({**WHEEL_MEMBERS, "some_name/data.bin": os.urandom(8 * 1024 * 1024)}, zipfile.ZIP_STORED)
    with bounded(mebibytes=2):
        assert look_into(data, WHEEL).metadata == BODY


def odd_zips() -> dict[str, tuple[str, bytes]]:
    link = zip_link("some_name/link")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        twice = zip_of([*WHEEL_MEMBERS.items(), ("some_name/a", b"1"), ("some_name/a", b"2")])
    return {
        "without WHEEL": (WHEEL, without(f"{INFO}/WHEEL")),
        "without RECORD": (WHEEL, without(f"{INFO}/RECORD")),
        "a name that comes twice": (WHEEL, twice),
        "a link": (WHEEL, zip_of([*WHEEL_MEMBERS.items(), (link, b"target")])),
        "another method": (WHEEL, zip_of([*WHEEL_MEMBERS.items(), (packed_otherwise(), b"x")])),
        "a comment like an end": (WHEEL, zip_of(comment=END + b"x" * 10)),
        "several folders": (ZIP_SDIST, zip_of({**SDIST_MEMBERS, "other/x": b"", "a.egg-info/PKG-INFO": b"Name: other"})),
        "no folder": (ZIP_SDIST, zip_of({"setup.py": b"", "PKG-INFO": BODY})),
        "a local header that contradicts": (WHEEL, patched(zip_of(), LOCAL, 14, "<L", 1, last=False)),
    }


def packed_otherwise() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("some_name/data.bin")
    info.compress_type = zipfile.ZIP_LZMA
    return info


@pytest.mark.parametrize("kind", odd_zips())
def test_odd_packing_is_left_to_installers_by_a_lenient_inspection(kind: str) -> None:
    filename, data = odd_zips()[kind]
    refused(data, filename)
    assert look_into(data, filename, is_strict=False).metadata == BODY


NO_WHEELS = (
    b"",
    b"PK",
    b"<html>404</html>",
    zip_of()[:-30],
    without(f"{INFO}/METADATA"),
    zip_of({**WHEEL_MEMBERS, "../x": b""}),
    zip_of({**WHEEL_MEMBERS, "/etc/passwd": b""}),
    zip_of({**WHEEL_MEMBERS, f"{INFO}/METADATA": metadata("other", "1.0")}),
)


@pytest.mark.parametrize("data", NO_WHEELS)
def test_what_no_installer_takes_is_refused_by_a_lenient_inspection(data: bytes) -> None:
    with pytest.raises(InvalidDistribution):
        look_into(data, WHEEL, is_strict=False)


def test_a_file_that_gives_its_bytes_in_parts_is_read_all_the_same() -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 0))

    data = zip_of()
    assert look_into_file(Dripping(data), WHEEL, len(data)).metadata == BODY


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "RECORD"])
def test_R88_a_wheel_needs_metadata_wheel_and_record(name: str) -> None:
    assert refused(without(f"{INFO}/{name}"), WHEEL) == f"it contains no {name} for its name and version"


@pytest.mark.parametrize(
    "info", ["other-1.0.dist-info", "some_name-2.0.dist-info", f"vendored/{INFO}", "some_name.dist-info", "-1.0.dist-info"]
)
def test_metadata_of_another_distribution_is_not_taken(info: str) -> None:
    members = {path.replace(INFO, info): body for path, body in WHEEL_MEMBERS.items()}
    assert "contains no " in refused(zip_of(members), WHEEL)
    assert look_into(zip_of({**members, **WHEEL_MEMBERS}), WHEEL).metadata == BODY, "nor does it disturb"


def test_metadata_in_two_spellings_is_refused() -> None:
    again = "Some.Name-1.0.0.dist-info"
    assert "more than one METADATA" in refused(with_member(f"{again}/METADATA", BODY), WHEEL)
    divided = {path.replace(INFO, again) if "RECORD" in path else path: body for path, body in WHEEL_MEMBERS.items()}
    assert "more than one .dist-info folder" in refused(zip_of(divided), WHEEL)


@pytest.mark.parametrize(
    ("name", "version"), [("other", "1.0"), ("some-name", "2.0"), ("some-name", "1.0.post1"), ("some", "1.0")]
)
def test_R87_metadata_must_be_of_the_wheel(name: str, version: str) -> None:
    data = zip_of({**WHEEL_MEMBERS, f"{INFO}/METADATA": metadata(name, version)})
    assert refused(data, WHEEL) == f"its metadata is of {name!r} {version!r}"


def test_an_egg_without_metadata_is_refused() -> None:
    assert "no EGG-INFO/PKG-INFO" in refused(zip_of({"a": b""}), "a-1.0-py3.8.egg")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused() -> None:
    assert "more than once" in refused(with_member(f"{INFO}/METADATA", b"other"), WHEEL)
    assert "more than once" in refused(zip_of([(f"{TOP}/a", b""), (f"{TOP}/a", b"")]), ZIP_SDIST)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.py", "leads out"),
        ("some_name/../../evil.py", "leads out"),
        ("some_name/..", "leads out"),
        ("..\\evil.py", "leads out"),
        ("a\\..\\..\\evil.py", "leads out"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("\\evil.py", "absolute"),
        ("C:\\evil.py", "absolute"),
        ("c:evil.py", "absolute"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a" * 2_000, "too long"),
        ("a/" * 200 + "b", "too deep"),
    ],
)
def test_R87_a_member_that_leads_elsewhere_is_refused(name: str, reason: str) -> None:
    assert reason in refused(with_member(name), WHEEL)
    assert reason in refused(zip_of([(f"{TOP}/x", b""), (name, b"")]), ZIP_SDIST)
    assert reason in refused(zip_of({"EGG-INFO/PKG-INFO": BODY, name: b""}), "Some.Name-1.0-py3.8.egg")


def test_a_nul_in_a_name_is_refused() -> None:
    data = with_member("some_name/evilXpng.py").replace(b"evilXpng", b"evil\0png")
    assert "control character" in refused(data, WHEEL)


def test_a_name_that_is_not_the_text_it_is_said_to_be_is_refused() -> None:
    data = with_member("some_name/\N{SNAKE}.py").replace("\N{SNAKE}".encode(), b"\xff\xfe\xfd\xfc")
    assert "marked as UTF-8, but is not" in refused(data, WHEEL)


def test_a_second_name_in_an_extra_field_is_refused() -> None:
    for other, is_refused in ((b"some_name/a.py", False), (b"../evil", True)):
        info = zipfile.ZipInfo("some_name/a.py")
        info.extra = struct.pack("<2HBL", 0x7075, 5 + len(other), 1, zlib.crc32(b"some_name/a.py")) + other
        if is_refused:
            assert "two different names" in refused(with_member(info), WHEEL)
        else:
            assert look_into(with_member(info), WHEEL).metadata == BODY


def test_links_and_devices_are_refused() -> None:
    assert "a link or a device" in refused(with_member(zip_link("some_name/link"), b"../../etc/passwd"), WHEEL)
    device = zip_link("some_name/device")
    device.external_attr = 0o020666 << 16
    assert "a link or a device" in refused(with_member(device), WHEEL)


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_an_encrypted_member_is_refused(flag: int) -> None:
    assert "encrypted" in refused(patched(zip_of(), ENTRY, 8, "<H", flag), WHEEL)


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 95, 99])
def test_a_member_packed_in_another_way_is_refused(method: int) -> None:
    assert "not every installer supports" in refused(patched(zip_of(), ENTRY, 10, "<H", method), WHEEL)


@pytest.mark.parametrize("data", [b"", b"PK", b"\x1f\x8b\x08", b"Rar!\x1a\x07", b"x" * 100_000, b"<html>404</html>", END])
def test_R88_what_is_no_zip_archive_is_refused(data: bytes) -> None:
    for filename in (WHEEL, ZIP_SDIST, "a-1.0-py3.8.egg"):
        assert "not a ZIP archive" in refused(data, filename)


def test_an_empty_archive_is_refused() -> None:
    assert "contains no " in refused(zip_of({}), WHEEL)
    assert refused(zip_of({}), ZIP_SDIST) == "it is empty"


def test_an_archive_cut_anywhere_is_refused() -> None:
    data = zip_of()
    for length in range(len(data)):
        refused(data[:length], WHEEL)


def test_a_file_that_is_shorter_than_it_is_said_to_be_is_refused() -> None:
    data = zip_of()
    with pytest.raises(InvalidDistribution, match="shorter"):
        look_into_file(io.BytesIO(data), WHEEL, len(data) + 1)


@pytest.mark.parametrize(
    "stub", [b"\x7fELF", b"#!/bin/sh\nrm -rf /\n", zip_of({"a": b""})], ids=["binary", "script", "another archive"]
)
def test_bytes_before_the_archive_are_refused(stub: bytes) -> None:
    # As self-extracting archives have it, and with the offsets made right for it.
    assert "not where" in refused(stub + zip_of(), WHEEL)
    buffer = io.BytesIO()
    buffer.write(stub)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, body in WHEEL_MEMBERS.items():
            archive.writestr(name, body)
    data = buffer.getvalue()
    if stub.startswith(b"PK"):
        assert look_into(data, WHEEL).metadata == BODY, "appended to: it is one archive"
    else:
        assert "belong to no member" in refused(data, WHEEL)


def test_bytes_behind_the_archive_are_refused() -> None:
    assert "is incomplete" in refused(zip_of() + b"x", WHEEL)
    assert "not where" in refused(zip_of({"evil": b""}) + zip_of(), WHEEL)


def test_a_comment_that_hides_another_end_is_refused() -> None:
    inner = struct.pack("<4s4H2LH", END, 0, 0, 0, 0, 0, 0, 0)
    data = zip_of()
    hidden = patched(data, END, 20, "<H", len(inner)) + inner
    refused(hidden, WHEEL)
    assert look_into(patched(data, END, 20, "<H", 5) + b"hello", WHEEL).metadata == BODY


def test_bytes_between_members_are_refused() -> None:
    data = zip_of()
    cut = data.find(ENTRY)
    widened = patched(data[:cut] + b"hidden" + data[cut:], END, 16, "<L", cut + 6)
    assert "belong to no member" in refused(widened, WHEEL)


def test_a_table_that_leaves_members_out_is_refused() -> None:
    # The last member is struck from the table, as for somebody who reads the members from the front.
    data = with_member("some_name/z.py")
    table, end = data.find(ENTRY), data.rfind(END)
    last = data.rfind(ENTRY)
    shortened = data[:last] + data[end:]
    shortened = patched(shortened, END, 8, "<H", 4)
    shortened = patched(shortened, END, 10, "<H", 4)
    shortened = patched(shortened, END, 12, "<L", last - table)
    assert "belong to no member" in refused(shortened, WHEEL)


def test_members_that_overlap_are_refused() -> None:
    data = with_member("some_name/a.py", b"a" * 50)
    first, second = data.find(ENTRY), data.find(ENTRY, data.find(ENTRY) + 1)
    offset = data[first + 42 : first + 46]
    assert refused(data[: second + 42] + offset + data[second + 46 :], WHEEL)


def test_a_bomb_of_overlapping_members_is_refused_before_it_goes_off() -> None:
    """Many entries of the table for one and the same kernel, each of which unpacks to a megabyte."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = kernel.compress(bytes(1_000_000)) + kernel.flush()
    crc = zlib.crc32(bytes(1_000_000))
    names = [b"%05d" % number for number in range(60)]
    local = struct.pack("<4s5H3L2H", LOCAL, 20, 0, 8, 0, 0, crc, len(packed), 1_000_000, 5, 0)
    body = local + names[0] + packed
    table = b"".join(
        struct.pack("<4s6H3L5H2L", ENTRY, 20, 20, 0, 8, 0, 0, crc, len(packed), 1_000_000, 5, 0, 0, 0, 0, 0, 0) + name
        for name in names
    )
    data = body + table + struct.pack("<4s4H2LH", END, 0, 0, 60, 60, len(table), len(body), 0)
    with bounded(mebibytes=2):
        assert "overlap" in refused(data, WHEEL)


@pytest.mark.parametrize("size", [100 * 1024 * 1024, 4 * 1024 * 1024 * 1024 - 2])
def test_R88_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(size: int) -> None:
    honest = with_member("some_name/zeros.bin", bytes(1_000))
    data = patched(patched(honest, ENTRY, 24, "<L", size, last=False), LOCAL, 22, "<L", size, last=False)
    file = Counting(data)
    with bounded(mebibytes=2), pytest.raises(InvalidDistribution, match="far more than its size"):
        look_into_file(file, WHEEL, len(data))
    assert file.given <= 2 * len(data)


def test_sizes_that_are_too_large_together_are_refused() -> None:
    limits = Limits(largest_unpacked=1_000)
    assert "far more" in refused(zip_of({**WHEEL_MEMBERS, "a": b"a" * 600, "b": b"b" * 600}), WHEEL, limits)


def test_metadata_of_100_megabytes_is_refused() -> None:
    members = {**WHEEL_MEMBERS, f"{INFO}/METADATA": BODY + bytes(100_000_000)}
    data = zip_of({**members, "ballast": random.Random(1).randbytes(3_000_000)})
    with bounded(mebibytes=2):
        assert "too large" in refused(data, WHEEL)


def test_metadata_that_lies_about_its_size_is_not_unpacked_beyond_the_lie() -> None:
    members = {f"{INFO}/WHEEL": b"", f"{INFO}/RECORD": b"", f"{INFO}/METADATA": BODY + bytes(50_000_000)}
    data = zip_of(members)
    data = patched(patched(data, ENTRY, 24, "<L", len(BODY)), LOCAL, 22, "<L", len(BODY))
    with bounded(mebibytes=2):
        assert "differs from what the central directory" in refused(data, WHEEL)


def test_a_header_that_contradicts_the_table_is_refused() -> None:
    data = zip_of({name: WHEEL_MEMBERS[name] for name in reversed(list(WHEEL_MEMBERS))})
    for offset, form, value in [(14, "<L", 1), (18, "<L", 1), (22, "<L", 1), (8, "<H", 0), (6, "<H", 0x800), (0, "<L", 0)]:
        assert "central directory" in refused(patched(data, LOCAL, offset, form, value), WHEEL)
    renamed = data.replace(b"some_name/__init__.py", b"some_name/__evil__.py", 1)
    assert "not where" in refused(renamed, WHEEL)


def test_metadata_that_is_broken_is_refused() -> None:
    data = bytearray(zip_of(compression=zipfile.ZIP_STORED))
    data[data.index(b"A description")] ^= 1
    assert "differs from what the central directory" in refused(bytes(data), WHEEL)
    deflated = bytearray(zip_of())
    place = deflated.index(f"{INFO}/METADATA".encode()) + len(f"{INFO}/METADATA")
    deflated[place : place + 4] = b"\xff\xff\xff\xff"
    assert "cannot be unpacked" in refused(bytes(deflated), WHEEL)


def test_a_million_members_are_refused_unread() -> None:
    entry = struct.pack("<4s6H3L5H2L", ENTRY, *[0] * 6, *[0] * 3, 1, *[0] * 4, 0, 0) + b"a"
    table = entry * 300_000
    # A small end cannot count so far: both say so.
    small = table + struct.pack("<4s4H2LH", END, 0, 0, 0, 0, len(table), 0, 0)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, len(table), 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(table), 1)
    wide = table + end64 + locator + struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    for data, reason in ((small, "longer than its members"), (wide, "1000000 members")):
        file = Counting(data)
        with bounded(mebibytes=2), pytest.raises(InvalidDistribution, match=reason):
            look_into_file(file, WHEEL, len(data))
        assert file.given < 200_000


def test_as_many_members_as_may_be_need_bounded_time_and_memory() -> None:
    data = zip_of([(f"some_name/{number}", b"") for number in range(10_000)] + list(WHEEL_MEMBERS.items()), zipfile.ZIP_STORED)
    with bounded(mebibytes=8):
        assert look_into(data, WHEEL).metadata == BODY


def test_a_table_of_contents_without_measure_is_refused() -> None:
    data = patched(zip_of(), END, 12, "<L", 2**30)
    assert "too large" in refused(data, WHEEL)


@pytest.mark.parametrize(
    "data",
    [
        with_zip64_end(zip_of(), start_told=2**63),
        with_zip64_end(zip_of(), start_told=2**64 - 1),
        with_zip64_end(zip_of(), start_told=0),
        with_zip64_end(zip_of(), place_told=0),
        with_zip64_end(zip_of(), place_told=2**64 - 1),
        with_zip64_end(zip_of(), count_told=3),
        with_zip64_end(zip_of(), count_told=5),
        with_zip64_end(zip_of(), count_told=2**64 - 1),
        patched(with_zip64_end(zip_of()), END, 10, "<H", 1),
        patched(with_zip64_end(zip_of()), END, 16, "<L", 1),
    ],
)
def test_a_zip64_end_that_lies_is_refused(data: bytes) -> None:
    assert refused(data, WHEEL)


@pytest.mark.parametrize("wide", [(), (2**63, 2**63, 2**63), (2**64 - 1,) * 3, (6, 6, 2**40), (6,)])
def test_sizes_in_zip64_fields_that_lie_are_refused(wide: tuple[int, ...]) -> None:
    info = zipfile.ZipInfo("some_name/a")
    info.extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide)
    data = with_member(info, b"abcdef")
    for offset in (20, 24, 42):
        data = patched(data, ENTRY, offset, "<L", 0xFFFFFFFF, last=False)
    assert refused(data, WHEEL)


def test_a_part_of_several_is_refused() -> None:
    assert "one part of a split archive" in refused(patched(zip_of(), END, 4, "<H", 1), WHEEL)
    assert "one part of a split archive" in refused(patched(zip_of(), ENTRY, 34, "<H", 1), WHEEL)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_garbled_wheel_is_refused_or_still_right(data: st.DataObject) -> None:
    whole = zip_of(compression=data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))
    with contextlib.suppress(InvalidDistribution):
        assert look_into(garbled(data.draw, whole), WHEEL).metadata == BODY


@given(st.binary(max_size=400), st.sampled_from([WHEEL, ZIP_SDIST, "a-1.0-py3.8.egg"]))
def test_any_bytes_are_refused(data: bytes, filename: str) -> None:
    refused(data, filename)


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}(/[a-z_.]{1,8}x){0,2}", fullmatch=True), st.binary(max_size=300)), max_size=8),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_any_wheel_gives_its_metadata(members: list[tuple[str, bytes]], compression: int) -> None:
    assert look_into(zip_of({**dict(members), **WHEEL_MEMBERS}, compression), WHEEL).metadata == BODY


# Files of which nobody knows a digest ------------------------------------------------------------------------------------


WHOLE = {
    "demo-1.0.zip": zip_of([("demo-1.0/PKG-INFO", b"x")]),
    "demo-1.0-py3-none-any.whl": b"#!python\n" + zip_of([("demo.py", b"x")]) + b"\0",
    "demo-1.0.tar.gz": gzip.compress(bytes(100_000)) + b"\n",
    "demo-1.0.tgz": gzip.compress(bytes(100)),
    "demo-1.0.tar.bz2": bz2.compress(bytes(100_000)),
    "demo-1.0.tar.xz": lzma.compress(bytes(100_000)),
    "demo-1.0.exe": b"MZ",
}


@pytest.mark.parametrize("filename", WHOLE)
def test_a_file_is_the_archive_that_its_name_says(filename: str) -> None:
    content = WHOLE[filename]
    check_is_archive(io.BytesIO(content), filename, len(content))
    broken = [] if filename.endswith("exe") else [content[: len(content) // 2], bytes(99)]
    for other in (b"", b" <!DOCTYPE html><html></html>", b"<html>", *broken):
        with pytest.raises(InvalidDistribution):
            check_is_archive(io.BytesIO(other), filename, len(other))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_looking_for_the_end_of_a_bomb_takes_little_memory(compress: Callable[[bytes], bytes]) -> None:
    content = compress(bytes(100_000_000))
    ending = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[compress]
    with bounded(12):
        check_is_archive(io.BytesIO(content), f"demo-1.0.tar.{ending}", len(content))
