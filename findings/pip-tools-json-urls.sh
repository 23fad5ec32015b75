#!/usr/bin/env bash
# pip-compile --generate-hashes takes a digest from the JSON only where the URL there is spelled as pip spells it.
#
# pip writes "+" in a path as "%2B"; RFC 3986 allows both, and indexes that follow devpi-server have "+f" in the paths of all files. Where page
# and JSON name the same file with a plain "+", pip-compile finds no digest and downloads the file to hash it, although both tell its sha256.
#
# Seen with pip-tools 7.6.2, pip 26.3:
#   url with +: downloaded 1 times    url with %2B: downloaded 0 times
. "$(dirname "$0")/prepare"
prepare pip-tools==7.6.2
venv/bin/python - <<'PYTHON'
import json, pathlib, sys
import loopback


def downloads(plus):
    """Compile with JSON that writes the plus sign as ``plus``; return how often the file was downloaded."""
    index = loopback.LoopbackIndex()
    name, body = loopback.make_wheel("sample", "1.0")
    digest = index.add_file(name, body)["hashes"]["sha256"]
    metadata = b"Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n"
    for spelled in ("+", "%2B"):
        index.answers[f"/{spelled}f/{name}"] = (200, {"Content-Type": "application/octet-stream"}, body)
        index.answers[f"/{spelled}f/{name}.metadata"] = (200, {"Content-Type": "application/octet-stream"}, metadata)
    url = f"{index.url}/{plus}f/{name}"
    index.add_page("sample", {"filename": name, "url": url, "hashes": {"sha256": digest}, "core-metadata": True})
    file = {"filename": name, "url": url, "digests": {"sha256": digest}, "packagetype": "bdist_wheel"}
    document = {"info": {"name": "sample", "version": "1.0"}, "releases": {"1.0": [file]}, "urls": [file]}
    index.answers["/sample/json"] = (200, {"Content-Type": "application/json"}, json.dumps(document).encode())
    pathlib.Path("requirements.in").write_text("sample")
    pathlib.Path("requirements.txt").unlink(missing_ok=True)
    words = ("--generate-hashes", "--rebuild", "--cache-dir", "cache", "--index-url", index.simple, "requirements.in")
    index.asked.clear()
    done, said = loopback.run("venv/bin/python", "-m", "piptools", "compile", *words)
    assert done and digest in pathlib.Path("requirements.txt").read_text() and "/sample/json" in index.asked, said
    count = sum(path.endswith(name) for path in index.asked)
    print(f"url with {plus}: downloaded {count} times")
    return count


sys.exit((downloads("+"), downloads("%2B")) != (1, 0))
PYTHON
