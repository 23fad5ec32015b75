#!/usr/bin/env bash
# micropip does not resolve relative URLs of JSON pages, so it installs nothing from an index that uses them.
#
# The simple repository API says of "url" in JSON: relative URLs are relative to the page, as in HTML. For HTML, micropip resolves them; for
# JSON, which it asks for first, it takes "/files/..." as it stands and reads it as a local file.
#
# Seen with micropip 0.11.1, of a page at http://127.0.0.1:PORT/simple/sample/:
#   json: /files/sample-1.0-py3-none-any.whl    html: http://127.0.0.1:PORT/files/sample-1.0-py3-none-any.whl
. "$(dirname "$0")/prepare"
prepare --ignore-requires-python micropip==0.11.1
venv/bin/python - <<'PYTHON'
import asyncio, sys
import loopback
from micropip._compat import compatibility_layer
from micropip.package_index import query_package

index = loopback.LoopbackIndex()
file = index.add_file(*loopback.make_wheel("sample", "1.0"))
seen = {}
for kind in ("json", "html"):
    if kind == "json":
        index.add_page("sample", file)
    else:
        index.add_html("sample", "", f'<a href="{file["url"]}">{file["filename"]}</a>')
    project = asyncio.run(query_package("sample", [index.url + "/simple"], compat_layer=compatibility_layer))
    (wheel,) = [wheel for wheels in project.releases.values() for wheel in wheels]
    seen[kind] = wheel.url
    print(f"{kind}: {wheel.url}")
sys.exit(seen != {"json": file["url"], "html": index.url + file["url"]})
PYTHON
