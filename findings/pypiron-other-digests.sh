#!/usr/bin/env bash
# pypiron as a proxy drops every file whose page gives another digest than sha256, and says that the project has no files.
#
# The simple repository API lets a file's "hashes" hold any algorithm of hashlib, sha256 being the recommended one. With sha512 alone pip and uv
# install. pypiron answers 200 with an empty list: no error, no header, nothing that tells it from a project that was emptied.
#
# Seen with pip 26.3, pypiron 0.0.29:
#   upstream: pip installed
#   pypiron: 200, files: 0
. "$(dirname "$0")/prepare"
prepare pypiron==0.0.29
venv/bin/python - <<'PYTHON'
import hashlib, json, sys
import loopback

index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
index.add_page("sample", index.add_file(name, body) | {"hashes": {"sha512": hashlib.sha512(body).hexdigest()}}, version="1.0")
index.add_page("other", index.add_file(*loopback.make_wheel("other", "1.0")), version="1.0")
pip, _ = loopback.pip_install(index.simple, "sample")
with loopback.pypiron(index.simple) as server:
    status, _, page = server.get("/simple/sample/", loopback.JSON_PAGE)
    _, _, other = server.get("/simple/other/", loopback.JSON_PAGE)
files, others = len(json.loads(page)["files"]), len(json.loads(other)["files"])
print("upstream: pip", "installed" if pip else "failed")
print(f"pypiron: {status}, files: {files} (of a project with sha256: {others})")
sys.exit((pip, status, files, others) != (True, 200, 0, 1))
PYTHON
