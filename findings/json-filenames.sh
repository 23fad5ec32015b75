#!/usr/bin/env bash
# pip and unearth (so pdm) pay no heed to "filename" in JSON; they take the end of the URL for the file's name, and find no version.
#
# The simple repository API gives each file of a JSON page a "filename" and, apart from it, a "url"; only for HTML does it say that a URL ends in the
# file's name. So an index may serve its files below numbers or digests. uv and poetry find the releases of such a page.
#
# Seen with pip 26.3, uv 0.13.9, unearth 0.19.0, poetry 2.5.1, for a URL that ends in "/blobs/17":
#   pip: nothing found    unearth: nothing found    uv: installed    poetry: 1.0
. "$(dirname "$0")/prepare"
prepare uv==0.13.9 unearth==0.19.0 poetry==2.5.1
venv/bin/python - <<'PYTHON'
import sys
import loopback
from poetry.core.packages.dependency import Dependency
from poetry.repositories.legacy_repository import LegacyRepository
from unearth import PackageFinder

index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
index.answers["/blobs/17"] = (200, {"Content-Type": "application/octet-stream"}, body)
index.add_page("sample", index.add_file(name, body) | {"url": f"{index.url}/blobs/17"})
pip, said = loopback.pip_install(index.simple, "sample")
uv, _ = loopback.uv_install(index.simple, "sample")
unearth = PackageFinder(index_urls=[index.simple], trusted_hosts=["127.0.0.1"]).find_best_match("sample").best
poetry = LegacyRepository("sample", index.simple.rstrip("/"), disable_cache=True).find_packages(Dependency("sample", "*"))
poetry_versions = [str(package.version) for package in poetry]
print("pip:", "installed" if pip else "nothing found", "   unearth:", unearth or "nothing found")
print("uv:", "installed" if uv else "failed", "   poetry:", *poetry_versions)
sys.exit((pip, "from versions: none" in said, unearth, uv, poetry_versions) != (False, True, None, True, ["1.0"]))
PYTHON
