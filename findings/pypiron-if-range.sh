#!/usr/bin/env bash
# pypiron sends a part of a file although If-Range says that the client has a part of another file.
#
# RFC 9110 (section 13.1.5): if the validator in If-Range does not match, the server ignores Range and sends the whole file. That is how an
# interrupted download goes on safely when the file was replaced meanwhile. pypiron answers 206 whatever If-Range says, and gives files no
# validator of their own that a client could send.
#
# Seen with pypiron 0.0.29:
#   Range: bytes=0-9 with If-Range: "another": 206, 10 bytes, ETag None
. "$(dirname "$0")/prepare"
prepare pypiron==0.0.29
venv/bin/python - <<'PYTHON'
import sys
import urllib.request
import loopback

index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
index.add_page("sample", index.add_file(name, body))
with loopback.pypiron(index.simple) as server:
    server.get(f"/files/sample/{name}")
    fields = {"Range": "bytes=0-9", "If-Range": '"another"'}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/files/sample/{name}", headers=fields)) as answer:
        status, size, tag = answer.status, len(answer.read()), answer.headers["ETag"]
print(f'Range: bytes=0-9 with If-Range: "another": {status}, {size} bytes, ETag {tag}')
sys.exit((status, size, tag) != (206, 10, None))
PYTHON
