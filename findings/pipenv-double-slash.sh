#!/usr/bin/env bash
# pipenv asks for "/simple//sample/" where the URL of its source ends in a slash, as that of every simple index does.
#
# The simple repository API: URLs of pages end with a "/", and a project's page is at the index's URL followed by its name. pipenv puts one
# more slash between them when it collects digests, though not when it resolves. For RFC 3986 "//" is another path, and it is another key for
# each cache. Where it is answered with 404, the digests come from elsewhere: the lock file has them all the same.
#
# Seen with pipenv 2026.10.3:
#   asked for /simple/sample/ and /simple//sample/, locked with sha256
. "$(dirname "$0")/prepare"
prepare pipenv==2026.10.3
venv/bin/python - <<'PYTHON'
import json, pathlib, sys
import loopback

index = loopback.LoopbackIndex()
index.add_page("sample", index.add_file(*loopback.make_wheel("sample", "1.0")))
source = f'[[source]]\nname = "here"\nurl = "{index.simple}"\nverify_ssl = false\n'
pathlib.Path("Pipfile").write_text(f'{source}\n[packages]\nsample = "*"\n')
done, said = loopback.run("venv/bin/python", "-m", "pipenv", "lock")
assert done, said
locked = json.loads(pathlib.Path("Pipfile.lock").read_text())["default"]["sample"]
pages = {path for path in index.asked if path.endswith("/sample/")}
print("asked for", " and ".join(sorted(pages)), "- locked with", locked["hashes"])
is_locked = len(locked["hashes"]) == 1 and locked["hashes"][0].startswith("sha256:")
sys.exit(pages != {"/simple/sample/", "/simple//sample/"} or not is_locked)
PYTHON
