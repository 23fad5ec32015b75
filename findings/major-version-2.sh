#!/usr/bin/env bash
# pip and uv install from a page that says it follows version 2.0 of the simple API.
#
# PEP 629 and the simple repository API of today say: a client that reads a major version above the one it knows fails with an error.
# Both installers read 1.x only, and neither looks, in HTML or in JSON. An index cannot rely on the version to keep old clients away.
#
# Seen with pip 26.3, uv 0.13.9:
#   html pip: installed    html uv: installed    json pip: installed    json uv: installed
. "$(dirname "$0")/prepare"
prepare uv==0.13.9
venv/bin/python - <<'PYTHON'
import sys
import loopback

index = loopback.LoopbackIndex()
file = index.add_file(*loopback.make_wheel("sample", "1.0"))
seen = []
for kind in ("html", "json"):
    if kind == "html":
        meta = '<meta name="pypi:repository-version" content="2.0">'
        index.add_html("sample", meta, f'<a href="{file["url"]}">{file["filename"]}</a>')
    else:
        index.add_page("sample", file, version="2.0")
    for name, install in (("pip", loopback.pip_install), ("uv", loopback.uv_install)):
        done, _ = install(index.simple, "sample")
        seen.append(done)
        print(kind, f"{name}:", "installed" if done else "refused")
sys.exit(not all(seen))
PYTHON
