"""Forms: what every tool sends is understood, in whatever pieces it comes; what is broken or too much is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.memory_blobs import MemoryBlobs
from tests.web.receiving.form_samples import ATTESTATIONS, BYTES, COMMON, SAMPLES, WHEEL, Sample, encode, text
from twistpi.blobs.received import Receiving
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.web.receiving.forms import DEFAULT_LIMITS, Form, FormLimits, MultipartReader, is_multipart, read_urlencoded

B = "boundary"
URLENCODED = "application/x-www-form-urlencoded"
TYPE = f"multipart/form-data; boundary={B}"
EVERY_SAMPLE = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.tool)


def read(content_type: str, pieces: Sequence[bytes], limits: FormLimits = DEFAULT_LIMITS) -> Form:
    """What a form says; its file is left open for ``content_of``."""
    if content_type.startswith(URLENCODED):
        return read_urlencoded(b"".join(pieces), limits)
    blobs = MemoryBlobs()
    reader = MultipartReader(content_type, lambda: Receiving(blobs), limits)
    try:
        for piece in pieces:
            reader.feed(piece)
        return reader.finish()
    except TwistpiError:
        reader.close()
        raise


def content_of(form: Form) -> bytes | None:
    if form.content is None:
        return None
    with form.content.open() as file:
        return file.read()


def check(form: Form, sample: Sample) -> None:
    try:
        assert form.fields == sample.fields
        assert list(form.fields) == list(sample.fields)
        assert content_of(form) == sample.content
        assert form.filename == (sample.filename if sample.content is not None else "")
    finally:
        if form.content is not None:
            form.content.close()


def pieces_of(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(places)]


@EVERY_SAMPLE
def test_R75_the_form_of_every_tool_is_understood(sample: Sample) -> None:
    assert is_multipart(sample.content_type) is (sample.tool != "submit")
    check(read(sample.content_type, [sample.body]), sample)


@EVERY_SAMPLE
def test_a_form_that_comes_byte_by_byte_is_the_same(sample: Sample) -> None:
    check(read(sample.content_type, [sample.body[at : at + 1] for at in range(len(sample.body))]), sample)


@given(sample=st.sampled_from(SAMPLES), cuts=st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_form_is_the_same_in_whatever_pieces_it_comes(sample: Sample, cuts: list[int]) -> None:
    check(read(sample.content_type, pieces_of(sample.body, cuts)), sample)


@given(
    content=st.lists(
        st.sampled_from([b"\r", b"\n", b"--", b"boundary", b"-", b"b", b"\x00", b"\r\n--", b"\r\n--boundar", b"\n--boundar"]),
        max_size=12,
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
    old=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_what_looks_like_a_boundary_is_part_of_the_file(content: bytes, cuts: list[int], old: bool) -> None:
    # A real boundary cannot be in there: the sender sees to that.
    content = content.replace(b"\n--boundary", b"")
    style: dict[str, Any] = {"newline": "\n", "lead": "\n", "end": "\n"} if old else {}
    body = encode(B, [*COMMON, ("content", WHEEL, None, content), text("last", "1")], **style)
    form = read(TYPE, pieces_of(body, cuts))
    assert content_of(form) == content
    assert form.fields["last"] == ["1"]


def test_the_file_is_hashed_on_its_way() -> None:
    form = read(TYPE, [encode(B, [*COMMON, ("content", WHEEL, None, BYTES)])])
    assert form.content is not None
    assert form.content.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert form.content.size == len(BYTES)


def test_R76_attestations_may_come_after_the_file_as_text_or_as_a_file() -> None:
    file = ("content", WHEEL, None, b"x")
    assert read(TYPE, [encode(B, [file, text("attestations", ATTESTATIONS)])]).texts("attestations") == [ATTESTATIONS.encode()]
    sent = ("attestations", "a.json", "application/json", ATTESTATIONS.encode())
    assert read(TYPE, [encode(B, [file, sent])]).texts("attestations") == [ATTESTATIONS.encode()]


def test_a_signature_is_an_attached_file() -> None:
    form = read(
        TYPE, [encode(B, [*COMMON, ("gpg_signature", f"{WHEEL}.asc", None, b"-----BEGIN"), ("content", WHEEL, None, b"x")])]
    )
    assert form.attached == {"gpg_signature": [b"-----BEGIN"]}
    assert content_of(form) == b"x"


def test_a_field_that_came_as_a_file_is_refused_when_it_is_asked_for() -> None:
    form = read(TYPE, [encode(B, [("name", "name.txt", None, b"demo"), text("version", "1")])])
    assert (form.first("version"), form.first("nothing"), form.all("nothing")) == ("1", None, [])
    with pytest.raises(BadRequest, match="field name was sent as a file"):
        form.first("name")


@pytest.mark.parametrize("filename", [None, ""])
def test_content_without_a_file_name_is_no_file(filename: str | None) -> None:
    form = read(TYPE, [encode(B, [*COMMON, ("content", filename, None, b"text")])])
    assert (form.content, form.filename) == (None, "")


def test_an_empty_file_is_a_file() -> None:
    assert content_of(read(TYPE, [encode(B, [("content", WHEEL, None, b"")])])) == b""


def disposition(value: bytes) -> bytes:
    return b'--boundary\r\nContent-Disposition: form-data; name="content"; ' + value + b"\r\n\r\nx\r\n--boundary--\r\n"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ('filename="démo-1.0.zip"'.encode(), "démo-1.0.zip"),
        ('filename="démo-1.0.zip"'.encode("latin-1"), "démo-1.0.zip"),
        (b"filename*=utf-8''d%C3%A9mo-1.0.zip", "démo-1.0.zip"),
        (b"filename*=UTF-8'en'd%C3%A9mo-1.0.zip; x=y", "démo-1.0.zip"),
        (b"filename*=iso-8859-1''d%E9mo-1.0.zip", "démo-1.0.zip"),
        (b'filename="a%22b.zip"', 'a"b.zip'),
        (b'filename="a\\"b.zip"', 'a"b.zip'),
        (b"filename=demo-1.0.zip", "demo-1.0.zip"),
        (b'FileName = "demo-1.0.zip"', "demo-1.0.zip"),
        (b'filename="C:\\dist\\demo-1.0.zip"', "demo-1.0.zip"),
        (b'filename="../../demo-1.0.zip"', "../../demo-1.0.zip"),
        (b'filename="a;b=c.zip"', "a;b=c.zip"),
    ],
)
def test_file_names_are_read_in_every_coding_and_judged_elsewhere(sent: bytes, meant: str) -> None:
    assert read(TYPE, [disposition(sent)]).filename == meant


def test_text_that_is_not_utf8_is_taken_for_latin1() -> None:
    assert read(TYPE, [encode(B, [("author", None, None, "é".encode("latin-1"))])]).first("author") == "é"
    assert read(URLENCODED, [b"author=%E9&b=\xe9&c=%C3%A9"]).fields == {
        "author": ["é"],
        "b": ["é"],
        "c": ["é"],
    }


def test_what_stands_before_the_first_boundary_and_after_the_last_means_nothing() -> None:
    body = b"This is a form --boundary\r\n" + encode(B, COMMON) + b"\r\nthe end --boundary\r\n"
    assert read(TYPE, [body]).first("name") == "demo.pkg"


def test_an_urlencoded_form_that_is_here_already_is_read_at_once_and_json_is_none() -> None:
    assert read_urlencoded(b":action=submit&name=demo").fields == {":action": ["submit"], "name": ["demo"]}
    assert read_urlencoded(b'{":action": "submit"}').first(":action") is None


def test_a_form_may_have_no_parts() -> None:
    assert read(TYPE, [b"--boundary--\r\n"]).fields == {}
    assert read(URLENCODED, []).fields == {}


WHOLE = encode(B, [*COMMON, ("content", WHEEL, None, BYTES)])


@pytest.mark.parametrize("old", [False, True])
def test_a_form_that_is_cut_anywhere_is_refused_and_leaves_nothing(old: bool) -> None:
    whole = encode(B, [*COMMON, ("content", WHEEL, None, BYTES)], newline="\n", end="\n") if old else WHOLE
    for end in range(0, len(whole) - 3, 3):
        receivings: list[Receiving] = []
        reader = MultipartReader(TYPE, _remembering(receivings))
        with pytest.raises(BadRequest):
            _feed(reader, whole[:end])
        reader.close()
        for receiving in receivings:
            with pytest.raises(ValueError, match="closed"):
                receiving.write(b"more")


def _remembering(receivings: list[Receiving]) -> Callable[[], Receiving]:
    def begin() -> Receiving:
        receivings.append(Receiving(MemoryBlobs()))
        return receivings[-1]

    return begin


def _feed(reader: Any, body: bytes) -> None:
    reader.feed(body)
    reader.finish()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "ends before its last boundary"),
        (b'{"json": 1}', "ends before its last boundary"),
        (b"x" * 70_000, "does not begin with the boundary"),
        (b"--boundary\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--boundary--", "wrong type"),
        (b"--boundary\r\nX: y\r\n\r\nx\r\n--boundary--", "missing Content-Disposition"),
        (b"--boundary\r\nno colon\r\n\r\nx\r\n--boundary--", "malformed segment header"),
        (b"--boundaryx\r\n", "unexpected byte after first boundary"),
        (encode(B, [("content", "a", None, b"1"), ("content", "b", None, b"2")]), "more than one file called content"),
    ],
)
def test_a_broken_form_is_refused_with_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match="(?i)" + reason):
        read(TYPE, [body])


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 201, "text/plain", ""],
)
def test_a_type_that_no_form_can_be_read_by_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest, match="Content-Type"):
        MultipartReader(content_type, lambda: Receiving(MemoryBlobs()))


LIMITS = FormLimits(parts=5, size=1000, header=200)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([text("a", "x" * 2000)], "fields have more than 1,000 bytes"),
        ([text("a", "x" * 400), text("a", "x" * 400), text("a", "x" * 400)], "fields have more than 1,000 bytes"),
        ([("gpg_signature", "a.asc", None, b"x" * 2000)], "fields have more than 1,000 bytes"),
        ([("content", "", None, b"x" * 2000)], "fields have more than 1,000 bytes"),
        ([text("a", "x")] * 6, "count exceeded"),
        ([text("a" * 300, "x")], "header length exceeded"),
        ([("content", "a" * 300, None, b"x")], "header length exceeded"),
    ],
)
def test_what_is_too_much_is_refused_while_it_comes(parts: list[Any], reason: str) -> None:
    body = encode(B, parts)
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        with pytest.raises(TwistpiError, match=reason):
            read(TYPE, pieces, LIMITS)


def test_the_uploaded_file_does_not_count_as_a_field() -> None:
    form = read(TYPE, [encode(B, [text("a", "x" * 900), ("content", WHEEL, None, b"x" * 5000)])], LIMITS)
    assert form.content is not None
    assert form.content.size == 5000


@pytest.mark.parametrize(("body", "reason"), [(b"a=" + b"x" * 1000, "1,000 bytes"), (b"a=1&" * 5 + b"a=1", "5 fields")])
def test_an_urlencoded_form_has_the_same_limits(body: bytes, reason: str) -> None:
    with pytest.raises(TwistpiError, match=reason):
        read(URLENCODED, [body], LIMITS)


def test_a_header_line_without_an_end_is_refused_soon_in_either_style() -> None:
    for newline in ("\n", "\r\n"):
        with pytest.raises((TwistpiError, BadRequest), match=r"too long|exceeded"):
            read(TYPE, [f"--boundary{newline}X: ".encode(), *[b"x" * 1000] * 20])
