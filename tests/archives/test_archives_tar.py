from __future__ import annotations

import bz2
import io
import lzma
import os
import random
import tarfile
import zlib

import pytest

from tests.archives.made_archives import (
    BODY,
    SDIST,
    SDIST_MEMBERS,
    TOP,
    Counting,
    bounded,
    entry,
    look_into,
    look_into_file,
    packed,
    padded,
    raw_header,
    refused,
    tar_of,
)
from tests.fakes.wheels import metadata
from twistpi.archives.source import Limits
from twistpi.model.errors import InvalidDistribution

END = bytes(1024)
FILENAMES = ["some_name-1.0.tar.gz", "some_name-1.0.tgz", "some_name-1.0.tar.bz2", "Some.Name-1.0.TAR.GZ"]


def sdist(*more: tuple[str | tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An sdist with ``more`` members."""
    return packed(SDIST, tar_of([*SDIST_MEMBERS.items(), *more], form))


def raw(*records: bytes, end: bytes = END) -> bytes:
    """An sdist with ``records`` behind its regular members."""
    whole = tar_of()
    return packed(SDIST, whole[: _end_of_members(whole)] + b"".join(records) + end)


def _end_of_members(whole: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        archive.getmembers()
        return archive.offset


# What is taken -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filename", FILENAMES)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_sdist_gives_its_metadata_as_it_lies_in_it_and_as_values(filename: str, form: int) -> None:
    found = look_into(packed(filename.lower(), tar_of(form=form)), filename)
    assert (found.kind, found.metadata) == ("sdist", BODY)
    assert found.core is not None
    assert (found.core.name, found.core.version) == ("Some.Name", "1.0")


@pytest.mark.parametrize(
    ("filename", "name", "version"),
    [
        ("My.Pkg-1.0.tar.gz", "my-pkg", "1.00"),
        ("my_pkg-1.0.tar.gz", "My.Pkg", "1.0"),
        ("my-pkg-1.0.tar.gz", "my_pkg", "1"),
        ("my_pkg-1.0.post1.tar.gz", "my-pkg", "1.0-1"),
        ("my_pkg-1.0+local.1.tar.gz", "my-pkg", "1.0+local-1"),
        ("pytz-2004d.tar.gz", "pytz", "2004d"),
        ("a-2-1.0.tar.gz", "a-2", "1.0"),
    ],
)
def test_R87_an_sdist_may_spell_its_name_and_version_in_several_ways(filename: str, name: str, version: str) -> None:
    core = look_into(packed(filename, tar_of({"top/PKG-INFO": metadata(name, version)})), filename).core
    assert core is not None
    assert (core.name, core.version) == (name, version)


@pytest.mark.parametrize(
    ("filename", "name", "version"),
    [("a-1.0.tar.gz", "b", "1.0"), ("a-1.0.tar.gz", "a", "1.1"), ("a-b-1.0.tar.gz", "a", "1.0"), ("a-1.0.tar.gz", "a-1", "0")],
)
def test_R87_metadata_must_be_of_the_sdist(filename: str, name: str, version: str) -> None:
    assert "its metadata is of" in refused(packed(filename, tar_of({"top/PKG-INFO": metadata(name, version)})), filename)


def test_an_old_sdist_without_metadata_is_taken() -> None:
    found = look_into(packed(SDIST, tar_of({f"{TOP}/setup.py": b""})), SDIST)
    assert (found.kind, found.metadata, found.core) == ("sdist", None, None)


def test_metadata_deeper_in_the_sdist_is_another_ones() -> None:
    deeper = {f"{TOP}/some_name.egg-info/PKG-INFO": b"garbage", f"{TOP}/tests/data/x-1/PKG-INFO": b"garbage"}
    assert look_into(packed(SDIST, tar_of({**deeper, **SDIST_MEMBERS})), SDIST).metadata == BODY
    assert look_into(packed(SDIST, tar_of(deeper)), SDIST).metadata is None


def test_names_may_begin_with_the_folder_they_are_in() -> None:
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        entry("./", tarfile.DIRTYPE),
        entry(f"./{TOP}/", tarfile.DIRTYPE),
        *((f"./{name}", body) for name, body in SDIST_MEMBERS.items()),
    ]
    assert look_into(packed(SDIST, tar_of(members)), SDIST).metadata == BODY


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(form: int) -> None:
    name = f"{TOP}/{'folder/' * 20}{'x' * 60}"
    assert look_into(sdist((name, b"content"), form=form), SDIST).metadata == BODY
    if form != tarfile.USTAR_FORMAT:
        assert "leads out" in refused(sdist((f"{TOP}/{'folder/' * 20}../x", b""), form=form), SDIST)
        assert (
            look_into(sdist((f"{TOP}/{'x' * 200}\N{SNAKE}", b""), entry(f"{TOP}/l", b"2", "y" * 300), form=form), SDIST).metadata
            == BODY
        )


def test_an_archive_that_git_made_is_read() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "a" * 40}) as archive:
        for name, body in SDIST_MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), 1.5  # a fraction makes an extended header
            archive.addfile(info, io.BytesIO(body))
    assert look_into(packed(SDIST, buffer.getvalue()), SDIST).metadata == BODY


def test_several_streams_one_behind_the_other_are_one_archive() -> None:
    whole = tar_of()
    for filename in FILENAMES[:3]:
        parts = [packed(filename, whole[:700]), packed(filename, b""), packed(filename, whole[700:])]
        assert look_into(b"".join(parts), filename).metadata == BODY
        assert look_into(b"".join(parts) + bytes(70_000), filename).metadata == BODY, "zeros are padding"


def test_links_that_stay_inside_are_taken() -> None:
    links = [
        entry(f"{TOP}/docs/README", b"2", "../README"),
        entry(f"{TOP}/a/b/c", b"2", "../../d/e"),
        entry(f"{TOP}/docs/new", b"2", "new.d/file"),
        entry(f"{TOP}/hard", b"1", f"{TOP}/setup.py"),
    ]
    assert look_into(sdist(*links), SDIST).metadata == BODY


def test_names_in_old_encodings_are_taken() -> None:
    assert look_into(raw(raw_header(TOP.encode() + b"/J\xfcrgen")), SDIST).metadata == BODY


def test_a_large_sdist_needs_little_memory() -> None:
    payload = random.Random(1).randbytes(1_000_000) * 40
    data = packed(SDIST, tar_of([(f"{TOP}/payload", payload), *SDIST_MEMBERS.items()]))
    with bounded(mebibytes=3):
        assert look_into(data, SDIST).metadata == BODY


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filename", FILENAMES)
@pytest.mark.parametrize(
    "data", [b"", b"\x1f", b"PK\x03\x04" + bytes(100), b"x" * 100_000, b"<html>404</html>", lzma.compress(b"")]
)
def test_R88_what_is_not_compressed_as_its_name_says_is_refused(data: bytes, filename: str) -> None:
    assert "not compressed with" in refused(data, filename)
    assert "not compressed with" in refused(packed(FILENAMES[2] if filename != FILENAMES[2] else SDIST, tar_of()), filename)


@pytest.mark.parametrize("content", [b"hello", b"x" * 5000, bytes(100), os.urandom(2048)])
def test_R88_what_is_no_tar_archive_is_refused(content: bytes) -> None:
    assert refused(packed(SDIST, content), SDIST)


@pytest.mark.parametrize("filename", [SDIST, "some_name-1.0.tar.bz2"])
def test_an_archive_cut_anywhere_is_refused(filename: str) -> None:
    whole = packed(filename, tar_of())
    for length in range(len(whole)):
        refused(whole[:length], filename)
    tar = tar_of()
    for length in [*range(0, _end_of_members(tar) + 1, 128)]:
        assert "truncated" in refused(packed(filename, tar[:length]), filename)


def test_a_damaged_stream_is_refused() -> None:
    for filename in (SDIST, "some_name-1.0.tar.bz2"):
        data = bytearray(packed(filename, tar_of()))
        data[len(data) // 2] ^= 0x55
        data[len(data) // 2 + 3] ^= 0x55
        assert refused(bytes(data), filename)
    wrong_sum = bytearray(packed(SDIST, tar_of()))
    wrong_sum[-8] ^= 1
    assert "cannot be unpacked" in refused(bytes(wrong_sum), SDIST)


def test_bytes_behind_the_end_are_refused() -> None:
    assert "after its end" in refused(raw(end=END + raw_header(b"evil") + END), SDIST)
    assert "after its end" in refused(packed(SDIST, tar_of() + b"x"), SDIST)
    assert "after its end" in refused(packed(SDIST, tar_of()) + packed(SDIST, tar_of({"evil": b""})), SDIST)
    assert refused(packed(SDIST, tar_of()) + b"trailing", SDIST)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.py", "leads out"),
        (f"{TOP}/../../evil.py", "leads out"),
        (f"{TOP}/a/..", "leads out"),
        ("..\\evil.py", "leads out"),
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("\\evil", "absolute"),
        ("C:/evil.py", "absolute"),
        (f"{TOP}/a\nb", "control character"),
        (f"{TOP}/a\x1bb", "control character"),
        (f"{TOP}/" + "a" * 2_000, "too long"),
        (f"{TOP}/" + "a/" * 200 + "b", "too deep"),
        ("evil.py", "outside of its top-level folder"),
        ("other/evil.py", "more than one top-level folder"),
        ("._some_name-1.0", "outside of its top-level folder"),
        (TOP, "outside of its top-level folder"),
    ],
)
def test_R87_a_member_that_leads_elsewhere_is_refused(name: str, reason: str) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert reason in refused(sdist((name, b"x"), form=form), SDIST)


@pytest.mark.parametrize(
    "links",
    [
        [entry(f"{TOP}/passwd", b"2", "/etc/passwd")],
        [entry(f"{TOP}/passwd", b"2", "../passwd")],
        [entry(f"{TOP}/a/b", b"2", "../../x")],
        [entry(f"{TOP}/a", b"2", "b/../../x")],
        [entry(f"{TOP}/a", b"2", "C:\\x")],
        [entry(f"{TOP}/a", b"2", "..\\x")],
        [entry(f"{TOP}/a", b"2", "")],
        [entry(f"{TOP}/a", b"2", "x\ny")],
        [entry(f"{TOP}/a", b"2", "x" * 3_000)],
        [entry(f"{TOP}/a", b"1", "/etc/passwd")],
        [entry(f"{TOP}/a", b"1", "../passwd")],
        [entry(f"{TOP}/a", b"1", "etc/passwd")],
        [entry(f"{TOP}/a", b"1", f"{TOP}/../../passwd")],
        # Steps down through links that go nowhere, then up again: further up than they seem to lead.
        [entry(f"{TOP}/a/b/s", b"2", "."), entry(f"{TOP}/t", b"2", "a/b/s/s/s/../../../../..")],
        # The last link lies two folders higher than its name says.
        [entry(f"{TOP}/s", b"2", "."), entry(f"{TOP}/s/s/t", b"2", "../../x")],
        [entry(f"{TOP}/s/s/t", b"2", "../../x"), entry(f"{TOP}/s", b"2", ".")],
        # A hard link to a symbolic one is the same symbolic link in a higher place.
        [entry(f"{TOP}/a/b/s", b"2", "../../x"), entry(f"{TOP}/h", b"1", f"{TOP}/a/b/s")],
        [entry(f"{TOP}/s", b"2", "a"), entry(f"{TOP}/h", b"1", f"{TOP}/s/x")],
        [entry(f"{TOP}/s", b"2", "a"), entry(f"{TOP}/s/h", b"1", f"{TOP}/x")],
    ],
)
def test_R87_links_that_may_lead_out_are_refused(links: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    assert "link" in refused(sdist(*links), SDIST)


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"V", b"M", b"D", b"N", b"Z"]
)
def test_devices_and_whatever_else_is_no_file_are_refused(kind: bytes) -> None:
    assert "neither a file" in refused(raw(raw_header(kind=kind)), SDIST)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_what_has_content_and_is_no_file_is_refused(kind: bytes) -> None:
    header = raw_header(kind=kind, size=b"1000", target=(157, f"{TOP}/y".encode()))
    assert "is not a file" in refused(raw(header, bytes(512)), SDIST)


def test_sparse_files_are_refused() -> None:
    for key in (b"GNU.sparse.major=1", b"GNU.sparse.name=x", b"GNU.sparse.realsize=1"):
        line = b"%d %s\n" % (len(key) + 4, key)
        assert "sparse" in refused(raw(raw_header(kind=b"x", size=b"%o" % len(line)), padded(line), raw_header()), SDIST)


def test_metadata_that_is_no_file_or_comes_twice_is_refused() -> None:
    assert "is not a file" in refused(packed(SDIST, tar_of([entry(f"{TOP}/PKG-INFO", b"2", "setup.py")])), SDIST)
    assert "is not a file" in refused(packed(SDIST, tar_of([entry(f"{TOP}/PKG-INFO", b"5")])), SDIST)
    assert "more than once" in refused(sdist((f"{TOP}/PKG-INFO", BODY)), SDIST)


def test_an_archive_without_members_is_refused() -> None:
    assert refused(packed(SDIST, tar_of([])), SDIST) == "it is empty"
    assert refused(packed(SDIST, tar_of([entry("./", b"5")])), SDIST) == "it is empty"


@pytest.mark.parametrize(
    "header",
    [
        bytes(raw_header()[:148]) + b"0000000\0" + bytes(raw_header()[156:]),
        raw_header(size=b"9"),
        raw_header(size=b"-1"),
        raw_header(size=b"0o7"),
        raw_header(size=b"1_0"),
        raw_header(size=b"\xff" * 12),
        raw_header(magic=(257, b"ustar  \0"), prefix=(345, b"other")),
        raw_header(magic=(257, bytes(8)), prefix=(345, b"other")),
    ],
)
def test_headers_that_tar_programs_read_differently_are_refused(header: bytes) -> None:
    assert refused(raw(header), SDIST)


def pax(*lines: bytes, kind: bytes = b"x") -> bytes:
    """An extended header with the records ``lines``, whose lengths are put before them."""
    content = b"".join(_with_length(line) for line in lines)
    return raw_header(kind=kind, size=b"%o" % len(content)) + padded(content)


def _with_length(line: bytes) -> bytes:
    length = len(line) + 2
    while len(b"%d %s\n" % (length, line)) != length:
        length += 1
    return b"%d %s\n" % (length, line)


def gnu(kind: bytes, text: bytes) -> bytes:
    return raw_header(kind=kind, size=b"%o" % len(text)) + padded(text)


@pytest.mark.parametrize(
    "records",
    [
        [pax(b"path=../evil"), raw_header()],
        [pax(b"path=/evil"), raw_header()],
        [pax(b"path=other/evil"), raw_header()],
        [pax(b"linkpath=/etc/passwd"), raw_header(kind=b"2", target=(157, b"x"))],
        [pax(b"path=a", b"path=some_name-1.0/b"), raw_header()],
        [pax(b"path=some_name-1.0/\xff"), raw_header()],
        [pax(b"path=some_name-1.0/a\0b"), raw_header()],
        [pax(b"size=512"), raw_header(size=b"2000"), bytes(1024)],
        [pax(b"size=-1"), raw_header()],
        [pax(b"size=1_0"), raw_header()],
        [pax(b"size=" + b"9" * 19), raw_header()],
        [pax(b"size=" + b"9" * 5000), raw_header()],
        [pax(b"path=some_name-1.0/a", kind=b"g"), raw_header()],
        [pax(b"size=5", kind=b"g"), raw_header()],
        [pax(b"comment=a"), pax(b"comment=b"), raw_header()],
        [pax(b"size=0"), gnu(b"L", b"some_name-1.0/a\0"), raw_header()],
        [gnu(b"L", b"some_name-1.0/a\0"), pax(b"comment=a"), raw_header()],
        [gnu(b"L", b"some_name-1.0/a\0"), gnu(b"L", b"some_name-1.0/b\0"), raw_header()],
        [gnu(b"L", b"some_name-1.0/a\0../evil"), raw_header()],
        [gnu(b"L", b"../evil\0"), raw_header()],
        [gnu(b"K", b"/etc/passwd\0"), raw_header(kind=b"2")],
        [gnu(b"L", b"some_name-1.0/a\0")],
        [pax(b"path=some_name-1.0/a")],
        [raw_header(kind=b"x", size=b"14"), padded(b"99 path=a\n  ")],
        [raw_header(kind=b"x", size=b"14"), padded(b"0 path=abcd\n")],
        [raw_header(kind=b"x", size=b"14"), padded(b"12 path:abc\n")],
        [raw_header(kind=b"x", size=b"14"), padded(b"12 path=abcd")],
        [raw_header(kind=b"x", size=b"14"), padded(b"\xb2 path=abcde")],
        [raw_header(kind=b"x", size=b"14"), padded(b"1 1 1 1 1 1 ")],
    ],
)
def test_extended_headers_that_deceive_are_refused(records: list[bytes]) -> None:
    assert refused(raw(*records), SDIST)


def test_extended_headers_are_otherwise_harmless() -> None:
    records = [
        pax(b"comment=anything", kind=b"g"),
        pax(b"path=some_name-1.0/\xc3\xa4", b"mtime=1.5", b"size=5", b"LIBARCHIVE.xattr.x=\xff\0"),
        raw_header(size=b"5"),
        padded(b"abcde"),
        gnu(b"K", b"some_name-1.0/x\0"),
        gnu(b"L", b"some_name-1.0/hard\0"),
        raw_header(kind=b"1"),
    ]
    assert look_into(raw(*records), SDIST).metadata == BODY


# Bounds ------------------------------------------------------------------------------------------------------------


def bomb(before: bytes, size: int, filename: str = SDIST) -> bytes:
    """``before`` and ``size`` zeros, compressed piece by piece."""
    packer = bz2.BZ2Compressor() if filename.endswith(".bz2") else zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(before)]
    zeros = bytes(1024 * 1024)
    parts.extend(packer.compress(zeros) for _ in range(size // len(zeros)))
    return b"".join([*parts, packer.flush()])


@pytest.mark.parametrize("filename", [SDIST, "some_name-1.0.tar.bz2"])
def test_R88_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(filename: str) -> None:
    size = 100 * 1024 * 1024
    data = bomb(tar_of()[: _end_of_members(tar_of())] + raw_header(size=b"%o" % size), size, filename)
    assert len(data) < 300_000
    with bounded(mebibytes=10):
        assert "far more than its size" in refused(data, filename)
    with bounded(mebibytes=10):
        assert "far more than its size" in refused(bomb(tar_of(), size, filename), filename), "after its end"


def test_an_archive_of_more_bytes_than_may_be_is_refused() -> None:
    assert "far more" in refused(sdist((f"{TOP}/x", bytes(100_000))), SDIST, Limits(largest_unpacked=50_000))


def test_metadata_of_100_megabytes_is_refused_unread() -> None:
    size = 100 * 1024 * 1024
    data = bomb(raw_header(f"{TOP}/PKG-INFO".encode(), size=b"%o" % size), size)
    with bounded(mebibytes=2):
        assert "too large" in refused(data, SDIST)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("size", [2 * 1024 * 1024, 2**32, 2**62])
def test_extended_headers_without_measure_are_refused_unread(kind: bytes, size: int) -> None:
    header = raw_header(kind=kind, size=b"\x80" + size.to_bytes(11))
    file = Counting(bomb(header, 8 * 1024 * 1024))
    with bounded(mebibytes=2), pytest.raises(InvalidDistribution, match="too large"):
        look_into_file(file, SDIST, len(file.getvalue()))


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        sdist()[:-20],
        packed(SDIST, tar_of({f"{TOP}/PKG-INFO": metadata("other", "1.0")})),
        packed(SDIST, tar_of({"../x": b""})),
        sdist(entry(f"{TOP}/a", tarfile.CHRTYPE)),
    ],
)
def test_what_no_installer_takes_is_refused_by_a_lenient_inspection(data: bytes) -> None:
    with pytest.raises(InvalidDistribution):
        look_into(data, SDIST, is_strict=False)
