#!/usr/bin/env bash
# One digest called blake2b makes the whole JSON page unreadable for uv, even beside a sha256.
#
# The simple repository API ("hashes"): any algorithm of hashlib.algorithms_guaranteed may be named, as hashlib.new() would compute it. That is
# 64 bytes for blake2b. uv knows the name, but only with the 32 bytes that some servers call blake2b_256, and refuses the page with all its
# files; names that it does not know it passes over.
#
# Seen with pip 26.3, uv 0.13.9:
#   sha256: pip installed, uv installed
#   sha256 and blake2s: pip installed, uv installed
#   sha256 and blake2b: pip installed, uv: Invalid hash digest length (expected 64 hexadecimal characters, found 128)
. "$(dirname "$0")/prepare"
prepare uv==0.13.9
venv/bin/python - <<'PYTHON'
import hashlib, sys
import loopback

index = loopback.LoopbackIndex()
name, body = loopback.make_wheel("sample", "1.0")
entry = index.add_file(name, body)
seen = []
for algorithm in ("sha256", "blake2s", "blake2b"):
    entry["hashes"][algorithm] = hashlib.new(algorithm, body).hexdigest()
    index.add_page("sample", {**entry, "hashes": {key: entry["hashes"][key] for key in ("sha256", algorithm)}})
    pip, _ = loopback.pip_install(index.simple, "sample")
    uv, said = loopback.uv_install(index.simple, "sample")
    seen.append((pip, uv))
    print(algorithm, "pip:", pip, "uv:", uv or said.strip().splitlines()[-1].strip())
sys.exit(seen != [(True, True), (True, True), (True, False)] or "expected 64 hexadecimal characters, found 128" not in said)
PYTHON
