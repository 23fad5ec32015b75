#!/usr/bin/env bash
# A page compressed as two gzip members stops uv and pypiron, not pip.
#
# RFC 1952 (section 2.2) makes a gzip file a series of members, and RFC 9110 (section 8.4.1.3) takes its "gzip" from there, so a server may
# send a page that was compressed in pieces. pip reads all members. uv decodes the first and finds the JSON cut off. pypiron as a proxy
# answers 404 for the project.
#
# Seen with pip 26.3, uv 0.13.9, pypiron 0.0.29:
#   pip: installed
#   uv: cause: EOF while parsing a value at line 1 column 40
#   pypiron: 404 and 200 for a page of one member
. "$(dirname "$0")/prepare"
prepare uv==0.13.9 pypiron==0.0.29
venv/bin/python - <<'PYTHON'
import gzip, sys
import loopback

index = loopback.LoopbackIndex()
file = index.add_file(*loopback.make_wheel("sample", "1.0"))
page = index.add_page("sample", file)
encoded = gzip.compress(page[:40]) + gzip.compress(page[40:])
index.answers["/simple/sample/"] = (200, {"Content-Type": loopback.JSON_PAGE, "Content-Encoding": "gzip"}, encoded)
pip, _ = loopback.pip_install(index.simple, "sample")
uv, said = loopback.uv_install(index.simple, "sample")
with loopback.pypiron(index.simple) as server:
    index.answers["/simple/whole/"] = (200, {"Content-Type": loopback.JSON_PAGE, "Content-Encoding": "gzip"}, gzip.compress(page))
    whole, _, _ = server.get("/simple/whole/")
    status, _, _ = server.get("/simple/sample/")
print("pip:", "installed" if pip else "failed")
print("uv:", "installed" if uv else said.strip().splitlines()[-1].strip())
print("pypiron:", status, "and", whole, "for a page of one member")
sys.exit(not (pip and not uv and "EOF while parsing" in said and status == 404 and whole == 200))
PYTHON
