"""A real nginx, with the files that were written for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.etc.talking import PATIENCE, ask, wait_until

NGINX = "/usr/sbin/nginx"


def server_block(text: str, name: str, port: int, folder: Path) -> str:
    """What ``text`` says, at ``port`` of loopback alone, with names of its own, keeping its things in ``folder``."""
    assert "\n    listen 80;\n    listen [::]:80;\n" in text
    text = text.replace("\n    listen 80;\n    listen [::]:80;\n", f"\n    listen 127.0.0.1:{port};\n")
    text = re.sub(r"\btwistpi_", f"{name}_", text)
    return text.replace("/var/cache/nginx-twistpi", f"{folder}/{name}")


def with_tls(text: str, port: int, key: Path, certificate: Path) -> str:
    """The same with the lines for TLS made to count."""
    lines = re.sub(r"^    # ((listen .*443|ssl_).*;)$", r"    \1", text, flags=re.MULTILINE)
    everywhere = "    listen 443 ssl http2;\n    listen [::]:443 ssl http2;\n"
    assert everywhere in lines
    lines = lines.replace(everywhere, f"    listen 127.0.0.1:{port} ssl http2;\n")
    lines = re.sub(r"ssl_certificate     .*;", f"ssl_certificate {certificate};", lines)
    return re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {key};", lines)


@attrs.define(eq=False)
class Nginx:
    """One nginx over a folder of its own; started by root, its workers are another user, as they are everywhere."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def configure(self, blocks: Sequence[str]) -> None:
        """Write ``nginx.conf``."""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"    {kind}_temp_path {self.folder}/temporary-{kind};" for kind in kinds)
        user = "user nobody nogroup;\n" if os.geteuid() == 0 else ""
        head = f"worker_processes 1;\ndaemon off;\npid {self.folder}/nginx.pid;\nerror_log {self.folder}/nginx.err;\n"
        events = "events { worker_connections 1024; }\n"
        http = "\n".join([temporary, f"    access_log {self.folder}/nginx.log;", *blocks])
        (self.folder / "nginx.conf").write_text(f"{user}{head}{events}http {{\n{http}\n}}\n")

    def command(self, *words: str) -> list[str]:
        errors, configuration = str(self.folder / "nginx.err"), str(self.folder / "nginx.conf")
        return [NGINX, "-p", str(self.folder), "-e", errors, "-c", configuration, *words]

    def check(self) -> str:
        """What ``nginx -t`` says of it; empty when all is well."""
        done = subprocess.run(self.command("-t", "-q"), capture_output=True, text=True, check=False)
        return done.stdout + done.stderr if done.returncode else ""

    def start(self, url: str) -> None:
        """Start it, and wait until it answers at ``url``."""
        assert self.check() == ""
        self.process = subprocess.Popen(self.command())
        wait_until(lambda: ask(url), self.told)

    def told(self) -> str:
        return (self.folder / "nginx.err").read_text()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE)
