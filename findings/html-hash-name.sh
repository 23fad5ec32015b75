#!/usr/bin/env bash
# One link with a hash that uv does not know makes the whole HTML page unreadable for uv; in JSON the same hash is passed over.
#
# The simple repository API allows a fragment "#NAME=VALUE" with any name of hashlib.algorithms_guaranteed, as sha224. pip verifies it.
# uv refuses the page, also for the releases whose links carry sha256. In a JSON page it reads the file and leaves the hash out.
#
# Seen with pip 26.3, uv 0.13.9:
#   html pip: installed    html uv: Unsupported hash algorithm    json pip: installed    json uv: installed
. "$(dirname "$0")/prepare"
prepare uv==0.13.9
venv/bin/python - <<'PYTHON'
import hashlib, sys
import loopback

index = loopback.LoopbackIndex()
old, body = loopback.make_wheel("sample", "1.0")
new, newer_body = loopback.make_wheel("sample", "2.0")
entries = [index.add_file(old, body), index.add_file(new, newer_body)]
digests = {"sha224": hashlib.sha224(body).hexdigest()}
links = [f'<a href="/files/{old}#sha224={digests["sha224"]}">{old}</a>']
links.append(f'<a href="/files/{new}#sha256={entries[1]["hashes"]["sha256"]}">{new}</a>')
index.add_html("sample", "", "\n".join(links))
html_pip, _ = loopback.pip_install(index.simple, "sample==1.0")
html_uv, said = loopback.uv_install(index.simple, "sample==2.0")
entries[0]["hashes"] = digests
index.add_page("sample", *entries)
json_pip, _ = loopback.pip_install(index.simple, "sample==1.0")
json_uv, _ = loopback.uv_install(index.simple, "sample==1.0")
for name, done in (("html pip", html_pip), ("html uv", html_uv), ("json pip", json_pip), ("json uv", json_uv)):
    print(f"{name}:", "installed" if done else said.strip().splitlines()[-1].strip()[:60])
sys.exit(not (html_pip and not html_uv and "Unsupported hash algorithm" in said and json_pip and json_uv))
PYTHON
