"""Under which path below its index a mirrored file is served."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

from twistpi.model.records import Link

_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9_.-]")
_LONGEST_DIRECTORY: Final = 200
"""Characters; longer ones are cut and told apart by a digest, since a component of a path may have 255 bytes."""


def file_path(link: Link) -> str:
    """The path of ``link``'s file below its index; it stays the same while the link keeps its digest or its address.

    ``+f/{3}/{13}/{filename}`` with the first 16 digits of the SHA-256 where the upstream gives one, so that equal bytes have
    equal paths in every index; otherwise ``+e/{directory}/{filename}``.  The path is not percent-encoded.
    """
    digest = link.sha256
    if digest is not None:
        return f"+f/{digest[:3]}/{digest[3:16]}/{link.filename}"
    return f"+e/{external_directory(link.url)}/{link.filename}"


def external_directory(url: str) -> str:
    """The one path component that stands for where ``url``'s file lies: ``https_files.example_8080_a_b``.

    Scheme, host, port and folder with every character outside ``[a-zA-Z0-9_.-]`` as ``_``.  User, password and query, which may
    be secret or change with every visit, are left out.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    directory = _UNSAFE.sub("_", f"{parts.scheme}_{host}{parts.path.rpartition('/')[0]}")
    if len(directory) <= _LONGEST_DIRECTORY:
        return directory
    return f"{directory[:_LONGEST_DIRECTORY]}-{hashlib.sha256(directory.encode()).hexdigest()[:16]}"
