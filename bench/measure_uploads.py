"""Uploads to a private index: a wheel of a gigabyte in seconds and memory, small wheels a second."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import statistics
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import orjson

from bench.client import WrongAnswer
from bench.corpus import MEGABYTE
from bench.figures import Figure, Target
from bench.servers import Twistpi
from bench.stage import Stage

_INDEX = "root/bench"
_AUTHORIZATION = f"Basic {base64.b64encode(b'root:').decode()}"
_BOUNDARY = b"----------twistpi-bench"
_BLOCK = 1 << 18
_MORE_MEGABYTES = 60.0
_CLIENTS = (1, 16)
_SETTLE_SECONDS = 1.5
_TIMEOUT_SECONDS = 600


def measure(stage: Stage) -> list[Figure]:
    """The figures of a process of its own, which lived through nothing before."""
    twistpi = Twistpi.start(stage.folder / "uploads", stage.corpus.simple_url)
    try:
        _ask(twistpi, "PUT", f"/{_INDEX}", orjson.dumps({"type": "stage", "bases": [], "acl_upload": ["root"], "volatile": True}))
        _upload_together(twistpi, _small_wheels(stage, "warm", 8), 1)
        time.sleep(_SETTLE_SECONDS)
        large = _large(stage, twistpi)
        rates = {clients: _rate(stage, twistpi, clients) for clients in _CLIENTS}
    finally:
        twistpi.stop()
    one, many = (rates[clients] for clients in _CLIENTS)
    return [
        *large,
        Figure("small wheels uploaded, 1 client", one, "wheels/s"),
        Figure(f"small wheels uploaded, {_CLIENTS[1]} clients", many, "wheels/s", one, "1 client", many / one),
    ]


# One large wheel ---------------------------------------------------------------------------------------------------


def _large(stage: Stage, twistpi: Twistpi) -> list[Figure]:
    megabytes = stage.rounds(1024, 128)
    path = stage.folder / "large-1.0-py3-none-any.whl"
    _write_wheel(path, "large", "1.0", megabytes << 20)
    reference = _seconds_to_keep(path, stage.folder / "kept")
    upload = _Upload.of(path, "large", "1.0")
    before = twistpi.server.memory()["VmRSS"]
    with _Client(twistpi.url) as client:
        started = time.perf_counter()
        client.send(upload)
        seconds = time.perf_counter() - started
    more = (twistpi.server.memory()["VmHWM"] - before) / MEGABYTE
    path.unlink()
    size = "1 GiB" if megabytes == 1024 else f"{megabytes} MiB"
    return [
        Figure(f"upload of a wheel of {size}", seconds, "s", reference, "hashing and syncing a copy", seconds / reference),
        Figure(
            f"memory more while a wheel of {size} is uploaded", more, "MB", target=Target("below", _MORE_MEGABYTES, of="value"),
            note="resident at most, beyond what was resident before",
        ),
    ]  # fmt: skip


def _seconds_to_keep(source: Path, target: Path) -> float:
    """What the same bytes cost a program that only reads, hashes as uploads are hashed, and stores them durably."""
    started = time.perf_counter()
    digests = (hashlib.sha256(), hashlib.md5(usedforsecurity=False), hashlib.blake2b(digest_size=32))
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(_BLOCK):
            written.write(block)
            for digest in digests:
                digest.update(block)
        written.flush()
        os.fsync(written.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


# Small wheels ------------------------------------------------------------------------------------------------------


def _rate(stage: Stage, twistpi: Twistpi, clients: int) -> float:
    """Wheels a second: the median of some rounds."""
    count = stage.rounds(320, 64)
    rates = []
    for number in range(stage.rounds(3, 1)):
        wheels = _small_wheels(stage, f"small{clients}-{number}", count)
        rates.append(count / _upload_together(twistpi, wheels, clients))
    return statistics.median(rates)


def _small_wheels(stage: Stage, prefix: str, count: int) -> list[_Upload]:
    uploads = []
    for number in range(count):
        name = f"{prefix}-{number:04}".replace("-", "_")
        path = stage.folder / f"{name}-1.0-py3-none-any.whl"
        _write_wheel(path, name, "1.0", 2000)
        uploads.append(_Upload.of(path, name, "1.0", in_memory=True))
        path.unlink()
    return uploads


def _upload_together(twistpi: Twistpi, uploads: Sequence[_Upload], clients: int) -> float:
    """Seconds until ``clients`` clients, each over one connection, have uploaded all of ``uploads``."""
    failures: list[BaseException] = []
    gate = threading.Barrier(clients + 1)

    def work(some: Sequence[_Upload]) -> None:
        try:
            with _Client(twistpi.url) as client:
                gate.wait()
                for upload in some:
                    client.send(upload)
        except BaseException as error:
            failures.append(error)
            gate.abort()

    threads = [threading.Thread(target=work, args=(uploads[start::clients],), daemon=True) for start in range(clients)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if failures:
        raise failures[0]
    return seconds


# The wire ----------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Upload:
    """A form as upload tools send it; the file comes last and may be larger than the memory."""

    head: bytes
    file: Path | bytes
    tail: bytes
    size: int
    """Bytes of all three."""

    @classmethod
    def of(cls, path: Path, name: str, version: str, *, in_memory: bool = False) -> _Upload:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        fields = {
            ":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": name, "version": version,
            "filetype": "bdist_wheel", "pyversion": "py3", "summary": "A wheel to measure with", "sha256_digest": sha256,
        }  # fmt: skip
        parts = [_part(f'name="{field}"', value.encode()) for field, value in fields.items()]
        head = b"".join(parts) + _part(f'name="content"; filename="{path.name}"', b"").removesuffix(b"\r\n")
        tail = b"\r\n--" + _BOUNDARY + b"--\r\n"
        content = path.read_bytes() if in_memory else path
        return cls(head, content, tail, len(head) + path.stat().st_size + len(tail))

    def pieces(self) -> Iterator[bytes]:
        """The body."""
        if isinstance(self.file, bytes):
            yield self.head + self.file + self.tail
            return
        yield self.head
        with self.file.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
        yield self.tail


def _part(disposition: str, value: bytes) -> bytes:
    return b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (_BOUNDARY, disposition.encode(), value)


class _Client:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)

    def send(self, upload: _Upload) -> None:
        """Upload; raises ``WrongAnswer`` unless that succeeds."""
        headers: Mapping[str, str] = {
            "Authorization": _AUTHORIZATION,
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
            "Content-Length": str(upload.size),
        }
        self._connection.request("POST", f"/{_INDEX}/", upload.pieces(), dict(headers))
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise WrongAnswer(f"an upload was answered {answer.status} {answer.reason}: {body[:200]!r}")

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _ask(twistpi: Twistpi, method: str, path: str, body: bytes) -> None:
    parts = urlsplit(twistpi.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    connection.request(method, path, body, {"Authorization": _AUTHORIZATION, "Accept": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status >= 300:
        raise WrongAnswer(f"{method} {path} was answered {answer.status} {answer.reason}")


def _write_wheel(path: Path, name: str, version: str, payload: int) -> None:
    """A real wheel with ``payload`` bytes that nothing compresses."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}/__init__.py": b"",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*members, f"{name}/payload.bin"]).encode()
    block = os.urandom(min(payload, MEGABYTE))
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{name}/payload.bin", "w", force_zip64=True) as file:
            for start in range(0, payload, len(block)):
                file.write(block[: payload - start])
        for member, content in members.items():
            archive.writestr(member, content)
