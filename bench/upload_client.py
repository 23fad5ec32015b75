"""Uploads to a private index, as upload tools send them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import orjson

from bench.client import WrongAnswer, seconds_of_threads
from bench.corpus import MEGABYTE
from bench.servers import Twistpi

_INDEX = "root/bench"
_AUTHORIZATION = f"Basic {base64.b64encode(b'root:').decode()}"
_BOUNDARY = b"----------twistpi-bench"
BLOCK = 1 << 18
"""Bytes read and sent at a time."""
_TIMEOUT_SECONDS = 600


def create_index(twistpi: Twistpi) -> None:
    """Create the index that takes the uploads."""
    put_index(twistpi, _INDEX, {"type": "stage", "bases": [], "acl_upload": ["root"], "volatile": True})


def put_index(twistpi: Twistpi, name: str, config: Mapping[str, object]) -> None:
    """Create the index ``name`` as root; raise ``WrongAnswer``."""
    body = orjson.dumps(config)
    parts = urlsplit(twistpi.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    connection.request("PUT", f"/{name}", body, {"Authorization": _AUTHORIZATION, "Accept": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status >= 300:
        raise WrongAnswer(f"creating {name} was answered {answer.status} {answer.reason}")


def small_wheels(folder: Path, prefix: str, count: int) -> list[Upload]:
    """Return uploads of ``count`` wheels of about 3 KB."""
    uploads = []
    for number in range(count):
        name = f"{prefix}-{number:04}".replace("-", "_")
        path = folder / f"{name}-1.0-py3-none-any.whl"
        write_wheel(path, name, "1.0", 2000)
        uploads.append(Upload.of(path, name, "1.0", in_memory=True))
        path.unlink()
    return uploads


def upload_together(twistpi: Twistpi, uploads: Sequence[Upload], clients: int) -> float:
    """Return seconds until ``clients`` clients, each over one connection, have uploaded all of ``uploads``."""

    def work(some: Sequence[Upload]) -> None:
        with UploadClient(twistpi.url) as client:
            for upload in some:
                client.send(upload)

    return seconds_of_threads([partial(work, uploads[start::clients]) for start in range(clients)])


@attrs.frozen
class Upload:
    """A form as upload tools send it; the file comes last and may be larger than the memory."""

    head: bytes
    file: Path | bytes
    tail: bytes
    size: int
    """Bytes of all three."""

    @classmethod
    def of(cls, path: Path, name: str, version: str, *, in_memory: bool = False) -> Upload:
        """Return the form for the file at ``path``."""
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
            while block := file.read(BLOCK):
                yield block
        yield self.tail


def _part(disposition: str, value: bytes) -> bytes:
    return b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (_BOUNDARY, disposition.encode(), value)


class UploadClient:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)

    def send(self, upload: Upload) -> None:
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

    def __enter__(self) -> UploadClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def write_wheel(path: Path, name: str, version: str, payload: int) -> None:
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
