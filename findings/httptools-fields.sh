#!/usr/bin/env bash
# httptools hands over white space behind a field's value, and trailer fields as if they were header fields.
#
# RFC 9110 (section 5.5): a field value does not include trailing white space; a parser excludes it. RFC 9110 (section 6.5.1): trailer fields
# are kept apart from header fields. HttpResponseParser calls on_header for both kinds, with the white space behind the value still there
# (the white space before it is gone), so "ETag" compared as bytes, or a late "Content-Length", misleads its caller.
#
# Seen with httptools 0.9.0:
#   before the body: (b'ETag', b'"a"  ')
#   behind the body: (b'X-Checksum', b'1')
. "$(dirname "$0")/prepare"
prepare httptools==0.9.0
venv/bin/python - <<'PYTHON'
import sys
import httptools


class Seen:
    def __init__(self):
        self.fields = {"before the body": [], "behind the body": []}
        self.where = "before the body"

    def on_header(self, name, value):
        self.fields[self.where].append((name, value))

    def on_body(self, data):
        self.where = "behind the body"


seen = Seen()
head = b'HTTP/1.1 200 OK\r\nETag:  "a"  \r\nTransfer-Encoding: chunked\r\n\r\n'
httptools.HttpResponseParser(seen).feed_data(head + b"1\r\nx\r\n0\r\nX-Checksum: 1\r\n\r\n")
for where, fields in seen.fields.items():
    print(f"{where}:", fields[0])
sys.exit((seen.fields["before the body"][0], seen.fields["behind the body"]) != ((b"ETag", b'"a"  '), [(b"X-Checksum", b"1")]))
PYTHON
