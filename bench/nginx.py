"""nginx: the upstream of the mirror, and beside it the reference."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path

import attrs

from bench.corpus import FAR_PREFIX, HTML_PREFIX
from bench.servers import Server, accepts, free_ports

UPSTREAM_LATENCY_MILLISECONDS = 50
"""How late the upstream answers for far projects: an ordinary time to the first byte of a page over the internet."""


@attrs.define
class Nginx:
    """One nginx with one worker: the upstream of the mirror, and beside it the reference that hands out the same bytes."""

    folder: Path
    upstream_url: str
    reference_url: str
    _servers: list[Server]

    @classmethod
    def start(cls, folder: Path) -> Nginx:
        """Serve ``folder/upstream`` as the upstream and ``folder/reference`` as the reference."""
        upstream, reference, latency = free_ports(3)
        for part in ("upstream/simple", "upstream/files", "reference"):
            (folder / part).mkdir(parents=True)
        late = [sys.executable, "-m", "bench.latency", str(latency), str(UPSTREAM_LATENCY_MILLISECONDS)]
        (folder / "nginx.conf").write_text(_configuration(folder, upstream, reference, latency))
        servers = [Server.start(late, folder / "latency.out")]
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        servers.append(Server.start([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], folder / "nginx.out"))
        for server, port in zip(servers, (latency, upstream), strict=True):
            server.wait_until(partial(accepts, port))
        return cls(folder, f"http://127.0.0.1:{upstream}", f"http://127.0.0.1:{reference}", servers)

    def stop(self) -> None:
        """End nginx and the latency."""
        for server in reversed(self._servers):
            server.stop()

    def refer(self, name: str, content_type: str, body: bytes) -> str:
        """Put ``body`` beside twistpi; the address under which nginx hands it out."""
        kind = next(kind for kind, types in _REFERENCE_KINDS.items() if content_type.split(";")[0] in types)
        path = self.folder / "reference" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return f"{self.reference_url}/{kind}/{name}"

    def fetches(self, path: str) -> list[str]:
        """What the upstream was asked for ``path``: a line of method, status, bytes sent and range for each request."""
        asked = (line.rsplit(" ", 1) for line in (self.folder / "upstream.log").read_text().splitlines())
        return [how for how, what in asked if what == path]


_JSON = "application/vnd.pypi.simple.v1+json"
_REFERENCE_KINDS = {
    "json": (_JSON,),
    "html": ("text/html", "application/vnd.pypi.simple.v1+html"),
    "file": ("application/octet-stream", "application/zip", "application/x-wheel+zip", "text/plain", "binary/octet-stream"),
}


def _configuration(folder: Path, upstream: int, reference: int, latency: int) -> str:
    """One worker, sendfile and tcp_nopush as Debian sets them, no access log for the reference, connections never worn out."""
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"    {kind}_temp_path {folder}/temporary-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 1024; }}
http {{
{temporary}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    types {{ }}
    default_type application/octet-stream;
    log_format asked '$request_method $status $body_bytes_sent $http_range $uri';
    upstream late {{ server 127.0.0.1:{latency}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{upstream};
        root {folder}/upstream;
        access_log {folder}/upstream.log asked;
        location /simple/ {{ default_type {_JSON}; try_files ${{uri}}index =404; }}
        location /simple/{HTML_PREFIX} {{ default_type text/html; try_files ${{uri}}index =404; }}
        location /simple/{FAR_PREFIX} {{ default_type {_JSON}; auth_request /late; try_files ${{uri}}index =404; }}
        location = /late {{
            internal;
            proxy_pass http://late;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
    server {{
        listen 127.0.0.1:{reference};
        root {folder}/reference;
        access_log off;
        location /json/ {{ default_type {_JSON}; }}
        location /html/ {{ default_type text/html; }}
    }}
}}
"""
