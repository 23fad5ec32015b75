"""A real S3 server, SeaweedFS, on loopback: one for all tests of a process, each with a bucket of its own."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import attrs

from tests.fakes.ports import free_port

ACCESS_KEY = "access"
SECRET_KEY = "secret"
READER_KEY = "reader"
"""The key of somebody who may only read and list, with the same secret."""
_PATIENCE = 120.0
_RIGHTS = {ACCESS_KEY: ["Admin", "Read", "Write", "List", "Tagging"], READER_KEY: ["Read", "List"]}


@attrs.define(eq=False)
class S3Server:
    """A running server."""

    url: str
    """Its endpoint, without a slash at the end."""
    process: subprocess.Popen[bytes]
    folder: Path
    command: list[str]
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))

    @property
    def environment(self) -> dict[str, str]:
        """What gives a process the credentials."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_EC2_METADATA_DISABLED": "true"}

    def new_bucket(self) -> str:
        """The name of a bucket that does not exist; the server makes it when something is stored."""
        return f"bucket-{next(self._numbers)}"

    def stop(self) -> None:
        """End the process and remove what it stored."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        for word in self.command:  # its sockets, which it leaves in /tmp wherever its folder is
            if ".grpc=" in word:
                for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{word.partition('=')[2]}.sock"):
                    path.unlink(missing_ok=True)


def start_s3_server() -> S3Server:
    """Start a server; stop it.  Blocking: about a second."""
    folder = Path(tempfile.mkdtemp(prefix="s3-"))
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET_KEY}], "actions": actions}
        for key, actions in _RIGHTS.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    port = free_port()
    command = _command(folder, port)
    environment = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": "/usr/bin:/bin"}  # none of the user's settings
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment)
    server = S3Server(f"http://127.0.0.1:{port}", process, folder, command)
    try:
        _wait_until_ready(server)
    except BaseException:
        server.stop()
        raise
    return server


def _command(folder: Path, port: int) -> list[str]:
    options = {
        "dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.port": port, "s3.config": folder / "s3.json",
        "s3.localSocket": folder / "s3.sock", "filer.localSocket": folder / "filer.sock", "s3.iam": "false",
        "s3.port.iceberg": 0, "s3.port.lance": 0, "webdav": "false", "admin.ui": "false",
        "master.telemetry": "false", "master.volumeSizeLimitMB": 64, "volume.max": 50, "volume.preStopSeconds": 0,
    }  # fmt: skip
    ports = ["s3.port.grpc", *(f"{part}.port{kind}" for part in ("master", "volume", "filer", "admin") for kind in ("", ".grpc"))]
    weed = str(Path(sys.executable).with_name("weed"))
    words = [f"-{name}={value}" for name, value in (options | {name: free_port() for name in ports}).items()]
    return [weed, "-logtostderr=true", "mini", *words]


def _wait_until_ready(server: S3Server) -> None:
    end = time.monotonic() + _PATIENCE
    while not _answers(f"{server.url}/healthz"):
        assert server.process.poll() is None, (server.folder / "log").read_text(errors="replace")
        assert time.monotonic() < end, (server.folder / "log").read_text(errors="replace")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except HTTPError as error:
        return error.code < 500
    except (URLError, OSError):
        return False
