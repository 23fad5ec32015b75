#!/usr/bin/env bash
# uv compares "===" as versions; pip compares it as text.
#
# PEP 440 defines "===" (arbitrary equality) as a comparison of strings, without any knowledge of versions. The index has release 1.0.post1;
# the requirement says "sample===1.0-1", another spelling of that version. pip finds nothing, uv installs 1.0.post1.
#
# Seen with pip 26.3, uv 0.13.9:
#   pip: nothing found
#   uv: installed 1.0.post1
. "$(dirname "$0")/prepare"
prepare uv==0.13.9
venv/bin/python - <<'PYTHON'
import sys
import loopback

index = loopback.LoopbackIndex()
index.add_page("sample", index.add_file(*loopback.make_wheel("sample", "1.0.post1")))
pip, _ = loopback.pip_install(index.simple, "sample===1.0-1")
uv, said = loopback.uv_install(index.simple, "sample===1.0-1")
print("pip:", "installed" if pip else "nothing found")
print("uv:", "installed 1.0.post1" if uv and "sample==1.0.post1" in said else "nothing found")
sys.exit(not (not pip and uv and "sample==1.0.post1" in said))
PYTHON
