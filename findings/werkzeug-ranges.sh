#!/usr/bin/env bash
# Werkzeug, and so Flask and proxpi, answers 416 to a range unit that it does not know, and to two ranges that the file has.
#
# RFC 9110 (section 14.2): a server ignores a Range field whose unit it does not understand, and answers 200. Of two satisfiable ranges it sends
# both (multipart/byteranges), or ignores the field; 416 is for ranges that do not overlap the file (section 15.5.17).
#
# Seen with Werkzeug 3.1.9, Flask 3.1.2, a file of 100 bytes:
#   bytes=0-9: 206    lines=0-9: 416    bytes=0-1,4-5: 416
. "$(dirname "$0")/prepare"
prepare werkzeug==3.1.9 flask==3.1.2
venv/bin/python - <<'PYTHON'
import io, sys
from flask import Flask, send_file

application = Flask("sample")


@application.get("/file")
def file():
    return send_file(io.BytesIO(bytes(100)), mimetype="application/octet-stream", conditional=True)


client = application.test_client()
seen = {value: client.get("/file", headers={"Range": value}).status_code for value in ("bytes=0-9", "lines=0-9", "bytes=0-1,4-5")}
print("    ".join(f"{value}: {status}" for value, status in seen.items()))
sys.exit(seen != {"bytes=0-9": 206, "lines=0-9": 416, "bytes=0-1,4-5": 416})
PYTHON
