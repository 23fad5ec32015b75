#!/usr/bin/env bash
# pypiron sends JSON to a client that refuses it, and does not tell caches that its pages depend on Accept.
#
# RFC 9110 (section 12.4.2): a media type with q=0 is not acceptable; the simple repository API tells servers to heed it. Section 12.5.5: an
# answer that was chosen by Accept says so in Vary, or a cache in front hands JSON to a browser and HTML to uv, whatever came first.
#
# Seen with pypiron 0.0.29:
#   Accept: application/vnd.pypi.simple.v1+json;q=0, text/html: application/vnd.pypi.simple.v1+json, Vary None
#   Accept: text/html: text/html; charset=utf-8, Vary None
. "$(dirname "$0")/prepare"
prepare pypiron==0.0.29
venv/bin/python - <<'PYTHON'
import sys
import loopback

index = loopback.LoopbackIndex()
index.add_page("sample", index.add_file(*loopback.make_wheel("sample", "1.0")))
seen = []
with loopback.pypiron(index.simple) as server:
    for accept in (f"{loopback.JSON_PAGE};q=0, text/html", "text/html"):
        _, headers, _ = server.get("/simple/sample/", accept)
        print(f"Accept: {accept}: {headers['Content-Type']}, Vary {headers['Vary']}")
        seen.append((headers["Content-Type"], headers["Vary"]))
sys.exit(seen != [(loopback.JSON_PAGE, None), ("text/html; charset=utf-8", None)])
PYTHON
