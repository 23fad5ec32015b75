"""A process of its own that turns an upstream's name list into ready pages; 730,000 names are parsed and forgotten with it.

    python -m twistpi.mirror.names_child RECEIVED ENCODING CONTENT_TYPE URL INDEX TARGET

Reads the file RECEIVED, writes ``page.json``, ``page.html``, each also with ``.gz``, and ``names.txt`` (sorted, one per line)
into the folder TARGET, and prints ``{"count": N, "etags": {"page.json": …}}``.  What is wrong goes to stderr, exit 1.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from twistpi.mirror.encoding import decompress
from twistpi.mirror.trouble import Trouble
from twistpi.model.errors import BadUpstreamPage
from twistpi.simple.names import NameListParser, render_names
from twistpi.simple.negotiate import Representation

LARGEST: Final = 1024 * 1024 * 1024
"""Bytes of the largest list that is believed, decompressed."""
_PAGES: Final = {"page.json": Representation.JSON_V1, "page.html": Representation.TEXT_HTML}
_COMPRESSION: Final = 4


def main(arguments: Sequence[str]) -> int:
    """Do the work; returns the exit status."""
    received, encoding, content_type, url, index, target = arguments
    os.nice(5)
    try:
        with open(received, "rb") as file:
            body = decompress(file.read(), encoding, LARGEST)
        parser = NameListParser(iter([body]), content_type, url)
        found: dict[str, int | None] = {}
        for name, serial in parser.names():
            found.setdefault(name, serial)
    except (BadUpstreamPage, Trouble) as error:
        sys.stderr.write(getattr(error, "reason", str(error)))
        return 1
    del body
    known = [serial for serial in found.values() if serial is not None]
    serials = known if len(known) == len(found) else None
    etags = {}
    for page, representation in _PAGES.items():
        pieces = render_names(index, found, representation, serials=serials, last_serial=parser.last_serial)
        etags.update(_write_page(target, page, pieces))
    with open(os.path.join(target, "names.txt"), "w", encoding="ascii") as file_of_names:
        file_of_names.writelines(f"{name}\n" for name in sorted(found))
    sys.stdout.write(json.dumps({"count": len(found), "etags": etags}))
    return 0


def _write_page(target: str, name: str, pieces: Iterable[bytes]) -> dict[str, str]:
    """Write a page as it is and compressed, in one go; returns the entity tags of both."""
    path = os.path.join(target, name)
    digest = hashlib.sha256(name.encode())
    with open(path, "wb") as plain, gzip.GzipFile(f"{path}.gz", "wb", _COMPRESSION, mtime=0) as compressed:
        for piece in pieces:
            digest.update(piece)
            plain.write(piece)
            compressed.write(piece)
    tag = digest.hexdigest()[:32]
    return {name: f'"{tag}"', f"{name}.gz": f'"{tag}-gzip"'}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
