#!/usr/bin/env bash
# For the metadata of a file whose URL has a query, pip, poetry and uv ask at three addresses.
#
# The simple repository API: the metadata file is at the file's URL with ".metadata" appended. RFC 3986 (section 3) keeps path and query apart. pip
# appends to the query, so a signature no longer holds, and the install ends with the error it gets. poetry leaves the query out and
# downloads the file instead. uv appends to the path and keeps the query.
#
# Seen with pip 26.3, uv 0.13.9, poetry 2.5.1, for /files/sample-1.0-py3-none-any.whl?signature=a1:
#   pip: /files/sample-1.0-py3-none-any.whl?signature=a1.metadata
#   poetry: /files/sample-1.0-py3-none-any.whl.metadata
#   uv: /files/sample-1.0-py3-none-any.whl.metadata?signature=a1
. "$(dirname "$0")/prepare"
prepare uv==0.13.9 poetry==2.5.1
venv/bin/python - <<'PYTHON'
import logging, sys
import loopback
from poetry.core.constraints.version import Version
from poetry.repositories.legacy_repository import LegacyRepository

logging.disable()
index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
metadata = b"Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n"
entry = index.add_file(name, body, core_metadata=True)
del index.answers[entry["url"]]
binary = {"Content-Type": "application/octet-stream"}
index.answers[f"/files/{name}?signature=a1"] = (200, binary, body)
index.answers[f"/files/{name}.metadata?signature=a1"] = (200, binary, metadata)
index.add_page("sample", entry | {"url": f"{index.url}/files/{name}?signature=a1"})


def asked(tool):
    del index.asked[:]
    done = tool()
    (path,) = {path for path in index.asked if ".metadata" in path}
    return path, done


pip = asked(lambda: loopback.pip_install(index.simple, "sample")[0])
uv = asked(lambda: loopback.uv_install(index.simple, "sample")[0])
repository = LegacyRepository("sample", index.simple.rstrip("/"), disable_cache=True)
poetry = asked(lambda: str(repository.package("sample", Version.parse("1.0")).version) == "1.0")
for tool, (path, done) in (("pip", pip), ("poetry", poetry), ("uv", uv)):
    print(f"{tool}: {path}", "succeeded" if done else "failed")
file = f"/files/{name}"
expected = ((f"{file}?signature=a1.metadata", False), (f"{file}.metadata", True), (f"{file}.metadata?signature=a1", True))
sys.exit((pip, poetry, uv) != expected)
PYTHON
