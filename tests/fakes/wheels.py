"""Real wheels, made on the fly."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Sequence


def metadata(name: str, version: str, requires: Sequence[str] = (), more: Sequence[str] = (), description: str = "") -> bytes:
    """The core metadata of a distribution, with ``more`` headers."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.8", *more]
    body = f"\n{description}" if description else ""
    return "\n".join([*lines, *(f"Requires-Dist: {requirement}" for requirement in requires), body]).encode()


def wheel_name(name: str, version: str) -> str:
    """The file name of a pure wheel."""
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def make_wheel(
    name: str,
    version: str,
    requires: Sequence[str] = (),
    payload: bytes = b"",
    more: Sequence[str] = (),
    description: str = "",
) -> bytes:
    """A wheel that holds the module ``name``, whose ``VERSION`` says its version, and ``payload`` as data."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f"VERSION = {version!r}\n".encode(),
        f"{module}/payload.bin": payload,
        f"{info}/METADATA": metadata(name, version, requires, more, description),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            # A fixed time, so that the same wheel has the same bytes.
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), content)
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
