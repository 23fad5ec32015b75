#!/usr/bin/env bash
# pypiserver files sample-3d-1.0.tar.gz under the project "sample".
#
# A part of a project's name may begin with a digit, and sdists made before PEP 625 keep the hyphen. pypiserver takes the first hyphen before
# a digit for the end of the name, so pages and installs of "sample-3d" answer 404. The same release as sample_3d-1.0.tar.gz is found.
#
# Seen with pypiserver 2.4.2:
#   with a hyphen: listed as ['sample'], page of sample-3d: 404
#   with an underscore: listed as ['sample-3d'], page of sample-3d: 200
. "$(dirname "$0")/prepare"
prepare pypiserver==2.4.2
venv/bin/python - <<'PYTHON'
import io, pathlib, re, sys, tarfile
import loopback


def sdist(stem):
    body = b"Metadata-Version: 2.1\nName: sample-3d\nVersion: 1.0\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(f"{stem}/PKG-INFO")
        member.size = len(body)
        archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


seen = []
for kind, stem in (("a hyphen", "sample-3d-1.0"), ("an underscore", "sample_3d-1.0")):
    folder = pathlib.Path(kind.replace(" ", "-"))
    folder.mkdir()
    (folder / f"{stem}.tar.gz").write_bytes(sdist(stem))
    with loopback.Server("venv/bin/pypi-server", "run", "--disable-fallback", "-i", "127.0.0.1", "-p", "PORT", str(folder)) as server:
        listed = re.findall(rb'href="([^"/]+)/"', server.get("/simple/")[2])
        status = server.get("/simple/sample-3d/")[0]
    print(f"with {kind}: listed as {[name.decode() for name in listed]}, page of sample-3d: {status}")
    seen.append((listed, status))
sys.exit(seen != [([b"sample"], 404), ([b"sample-3d"], 200)])
PYTHON
