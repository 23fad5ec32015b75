#!/usr/bin/env bash
# proxpi leaves upload times, sizes and the project's status out of the pages it passes on, so age limits find nothing behind it.
#
# The upstream page follows version 1.4 of the simple API; proxpi's follows 1.0. "uv --exclude-newer" takes only files whose upload time it
# knows: what installs from the upstream is refused through proxpi. A file of the same page has its size, provenance and status dropped.
#
# Seen with proxpi 1.3.1, uv 0.13.9:
#   upstream: 1.4, fields core of the file: provenance size upload-time; uv --exclude-newer: installed
#   proxpi: 1.0, none of them; uv --exclude-newer: no version found
. "$(dirname "$0")/prepare"
prepare proxpi==1.3.1 uv==0.13.9
venv/bin/python - <<'PYTHON'
import json, sys
import loopback

index = loopback.LoopbackIndex()
more = {"upload_time": "2020-01-01T00:00:00Z", "provenance": f"{index.url}/provenance"}
index.add_page("sample", index.add_file(*loopback.make_wheel("sample", "1.0"), **more), version="1.4", project_status={"status": "deprecated"})
names = json.dumps({"meta": {"api-version": "1.4"}, "projects": [{"name": "sample"}]}).encode()
index.answers["/simple/"] = (200, {"Content-Type": loopback.JSON_PAGE}, names)
NEWER = {"provenance", "size", "upload-time"}


def seen(page, simple):
    install = ("venv/bin/uv", "pip", "install", "--no-cache", "--python", "venv/bin/python", "--target", "by-uv", "--reinstall")
    done, _ = loopback.run(*install, "--exclude-newer", "2026-01-01T00:00:00Z", "--index-url", simple, "sample")
    fields = NEWER & set(page["files"][0]) | {"project-status"} & set(page)
    print(page["meta"]["api-version"], sorted(fields), "uv --exclude-newer:", "installed" if done else "no version found")
    return page["meta"]["api-version"], fields, done


direct = seen(json.loads(index.answers["/simple/sample/"][2]), index.simple)
with loopback.proxpi(index.simple) as server:
    page = json.loads(server.get("/index/sample/", loopback.JSON_PAGE)[2])
    proxied = seen(page, f"{server.url}/index/")
sys.exit((direct, proxied) != (("1.4", NEWER | {"project-status"}, True), ("1.0", set(), False)))
PYTHON
