"""What ``twistpi gen-config --cluster`` writes runs: each service as Compose would start it, but on loopback."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from tests.etc.front import Nginx
from tests.etc.talking import ask, wait_until
from tests.fakes.live_server import LiveServer, server_environment, twistd_command
from tests.fakes.ports import free_port
from tests.fakes.postgres import postgres
from twistpi.cli.cluster_config import NODE_PORT, ClusterDeployment, render
from twistpi.server.settings import Settings


@attrs.define(eq=False)
class Services:
    """The services of one ``compose.yaml``."""

    folder: Path
    files: dict[str, str]
    ports: dict[str, int]
    """Of nginx, of the S3 server and of the node, here."""
    node: LiveServer
    nginx: Nginx
    s3: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, folder: Path) -> Services:
        ports = {name: free_port() for name in ("balancer", "seaweedfs", "node")}
        files = render(ClusterDeployment(Settings(serverdir="/srv/data", port=ports["balancer"], bcrypt_cost=4), "pypi.example"))
        program = twistd_command("--nodaemon", "--pidfile=", "twistpi")
        node = LiveServer(folder / "cache", folder / "node.log", program=program, place_option="--cache-dir")
        (folder / "nginx").mkdir()
        return cls(folder, files, ports, node, Nginx(folder / "nginx"))

    def service(self, name: str) -> dict[str, Any]:
        """What Compose is told of a service, with the variables of ``.env``."""
        text = self.files["compose.yaml"]
        for name_of_one, value in self.secrets().items():
            text = re.sub(rf"\$\{{{name_of_one}:[^}}]*\}}", value, text)
        found: dict[str, Any] = yaml.safe_load(text)["services"][name]
        return found

    def secrets(self) -> dict[str, str]:
        lines = self.files[".env"].splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def environment(self) -> dict[str, str]:
        """Of a node; the other services have other addresses here."""
        image = dict(re.findall(r"\b(TWISTPI_\w+)=(\S+)", self.files["Dockerfile"]))
        given = {**image, **{name: str(value) for name, value in self.service("node1")["environment"].items()}}
        given |= {"TWISTPI_CHANGELOG": self.url, "TWISTPI_S3_ENDPOINT": f"http://127.0.0.1:{self.ports['seaweedfs']}"}
        given |= {"TWISTPI_HOST": "127.0.0.1", "TWISTPI_TRUSTED_PROXY": "127.0.0.1", "TWISTPI_NO_ROOT_PYPI": "true"}
        return {**given, "TWISTPI_CACHE_DIR": str(self.node.serverdir)}

    url: str = attrs.field(factory=lambda: postgres().new_schema())

    def start(self) -> None:
        places = {
            "-dir=/data": f"-dir={self.folder}/s3",
            "-ip=seaweedfs": "-ip=127.0.0.1",
            "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1",
        }
        (self.folder / "s3").mkdir()
        ports = [f"-{part}.port{kind}={free_port()}" for part in ("master", "volume", "filer") for kind in ("", ".grpc")]
        ports += [f"-s3.port={self.ports['seaweedfs']}", f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        service = self.service("seaweedfs")
        command = [str(Path(sys.executable).with_name("weed")), *(places.get(word, word) for word in service["command"]), *ports]
        variables = {**service["environment"], "HOME": str(self.folder), "TMPDIR": str(self.folder), "PATH": "/usr/bin:/bin"}
        with (self.folder / "s3.log").open("wb") as log:
            self.s3 = subprocess.Popen(command, env=variables, cwd=self.folder, stdout=log, stderr=log)
        wait_until(lambda: ask(f"http://127.0.0.1:{self.ports['seaweedfs']}/healthz"), (self.folder / "s3.log").read_text)
        self.node.start("--port", str(self.ports["node"]), environment=self.environment())
        text = re.sub(rf"172\.31\.41\.\d+:{NODE_PORT}", f"127.0.0.1:{self.ports['node']}", self.files["nginx.conf"])
        self.nginx.configure([text.replace("listen ", "listen 127.0.0.1:")])
        self.nginx.start(f"http://127.0.0.1:{self.ports['balancer']}/+api")

    def run(self, *words: str, told: str = "") -> str:
        """A command inside the container of a node."""
        environment = {**server_environment(), **self.environment()}
        done = subprocess.run(words, input=told, env=environment, capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def is_healthy(self) -> bool:
        """Whether the health check of the image says so."""
        (command,) = re.findall(r"HEALTHCHECK .*?CMD (\[.+?\])\n", self.files["Dockerfile"], re.DOTALL)
        words = json.loads(command.replace(f":{NODE_PORT}/", f":{self.ports['node']}/"))
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        self.nginx.stop()
        self.node.end(signal.SIGKILL)
        if self.s3 is not None:
            self.s3.kill()
            self.s3.wait()


@pytest.fixture
def services() -> Iterator[Services]:
    with tempfile.TemporaryDirectory(prefix="twistpi-compose-") as folder:
        os.chmod(folder, 0o755)  # nginx's user has to get in
        made = Services.make(Path(folder))
        yield made
        made.close()


def test_the_services_start_and_a_password_is_set_as_the_files_say(services: Services) -> None:
    services.start()
    assert services.is_healthy()
    (command,) = re.findall(r"^#   docker compose exec node1 (twistpi passwd .+)$", services.files["compose.yaml"], re.MULTILINE)
    program = [sys.executable, "-c", "from twistpi.cli.main import main; main()", *shlex.split(command)[1:], "--stdin"]
    assert services.run(*program, told="sesame12\n") == "The password of root is set.\n"
    balancer = f"http://127.0.0.1:{services.ports['balancer']}"
    login = ask(f"{balancer}/+login", "POST", b'{"user": "root", "password": "sesame12"}', Content_Type="application/json")
    assert login.status == 200
    # The bucket takes what the node writes: whose files it has, for one.
    assert ask(f"{balancer}/+ready").status == 200
    assert not [line for line in services.node.told().splitlines() if "bucket" in line and "could not" in line]
    services.node.end()
    assert not services.is_healthy()
