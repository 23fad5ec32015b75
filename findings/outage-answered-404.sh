#!/usr/bin/env bash
# pypiron answers 404 for a project while its upstream answers 503.
#
# RFC 9110 (section 15.5.5): 404 says that there is no such resource. An installer with a second index believes it and goes on there; a person
# reads "from versions: none". A gateway that could not ask has 502, 503 and 504 for it (sections 15.6.3 to 15.6.5).
#
# Seen with pypiron 0.0.29, pip 26.3 (upstream: 503 with Retry-After):
#   pypiron: 404
#   pip: Could not find a version that satisfies the requirement sample (from versions: none)
. "$(dirname "$0")/prepare"
prepare pypiron==0.0.29
venv/bin/python - <<'PYTHON'
import sys
import loopback

index = loopback.LoopbackIndex()
index.answers["/simple/sample/"] = (503, {"Retry-After": "60"}, b"maintenance")
with loopback.pypiron(index.simple) as server:
    status = server.get("/simple/sample/", loopback.JSON_PAGE)[0]
    _, said = loopback.pip_install(f"{server.url}/simple/", "sample")
print("pypiron:", status)
print("pip:", next(line for line in said.splitlines() if "ERROR" in line))
sys.exit((status, "from versions: none" in said) != (404, True))
PYTHON
