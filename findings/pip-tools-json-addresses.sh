#!/usr/bin/env bash
# pip-compile --generate-hashes asks for the JSON of an index at another address since version 7.6.1.
#
# Where the JSON of a project is has never been said for indexes other than the public one, but clients that lock read digests from it. An
# index that serves it has to do so below each of its addresses, or every file is downloaded to be hashed where pages tell no sha256.
#
# Seen with pip-tools 7.6.0 and 7.6.1, pip 25.3:
#   7.6.0: /simple/: /simple/pypi/sample/json    /team/+simple/: /team/+simple/pypi/sample/json
#   7.6.1: /simple/: /sample/json                /team/+simple/: /team/+simple/sample/json
. "$(dirname "$0")/prepare"
prepare pip==25.3 pip-tools==7.6.0
for version in 7.6.0 7.6.1; do
    venv/bin/python -m pip install --quiet pip-tools==$version 2>/dev/null
    venv/bin/python - $version <<'PYTHON'
import pathlib, sys
import loopback

index = loopback.LoopbackIndex()
index.add_page("sample", index.add_file(*loopback.make_wheel("sample", "1.0")))
pathlib.Path("requirements.in").write_text("sample")
expected = {
    "7.6.0": ["/simple/pypi/sample/json", "/team/+simple/pypi/sample/json"],
    "7.6.1": ["/sample/json", "/team/+simple/sample/json"],
}[sys.argv[1]]
seen = []
for path in ("/simple/", "/team/+simple/"):
    index.answers[f"{path}sample/"] = index.answers["/simple/sample/"]
    index.asked.clear()
    pathlib.Path("requirements.txt").unlink(missing_ok=True)
    words = ("--generate-hashes", "--cache-dir", "cache", "--index-url", index.url + path, "requirements.in")
    done, said = loopback.run("venv/bin/python", "-m", "piptools", "compile", *words)
    assert done, said
    seen += [asked for asked in index.asked if asked.endswith("/json")]
    print(f"{sys.argv[1]}: {path}: {seen[-1]}")
sys.exit(seen != expected)
PYTHON
done
