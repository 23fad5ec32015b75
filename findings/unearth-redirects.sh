#!/usr/bin/env bash
# unearth, and johnnydep which uses it, follow no redirects: a page or file that has moved is not there for them.
#
# RFC 9110 (section 15.4): a client with a Location for a GET request may follow it by itself, and installers do; the simple repository API
# tells servers to redirect names that are not normalised. unearth takes the answer 301 for a page without a Content-Type, and finds no version. pdm,
# which hands unearth a client of its own, follows.
#
# Seen with pip 26.3, unearth 0.19.0, johnnydep 2.1.1:
#   page moved: pip installed, unearth: no version, johnnydep: Package not found
#   file moved: pip installed, unearth: Redirect response '302 Found'
. "$(dirname "$0")/prepare"
prepare unearth==0.19.0 johnnydep==2.1.1
venv/bin/python - <<'PYTHON'
import sys
import loopback
from unearth import PackageFinder
from unearth.errors import UnpackError

index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
PAGE, FILE = "/simple/sample/", f"/files/{name}"
index.add_page("sample", index.add_file(name, body))
finder = PackageFinder(index_urls=[index.simple], trusted_hosts=["127.0.0.1"])
index.answers["/moved/file"] = index.answers[FILE]
index.answers[FILE] = (302, {"Location": "/moved/file"}, b"")
file_pip, _ = loopback.pip_install(index.simple, "sample")
try:
    finder.download_and_unpack(finder.find_best_match("sample").best.link, "by-unearth")
    refusal = ""
except UnpackError as error:
    refusal = str(error).splitlines()[0].partition(" for url")[0]
index.answers["/moved/page/"] = index.answers[PAGE]
index.answers[PAGE] = (301, {"Location": "/moved/page/"}, b"")
page_pip, _ = loopback.pip_install(index.simple, "sample")
page_unearth = finder.find_best_match("sample").best
_, said = loopback.run("venv/bin/johnnydep", "--index-url", index.simple, "sample")
print("page moved: pip:", page_pip, "unearth:", page_unearth, "johnnydep:", said.strip().splitlines()[-1])
print("file moved: pip:", file_pip, "unearth:", refusal)
is_refused = "302 Found" in refusal and "Package not found" in said
sys.exit((page_pip, page_unearth, file_pip, is_refused) != (True, None, True, True))
PYTHON
