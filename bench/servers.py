"""The servers under measurement, each a process of its own below one temporary folder, ended by its id."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench.builds import PROJECT, THIS, Build
from bench.client import WrongAnswer, get

_START_SECONDS = 60
_STOP_SECONDS = 20


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback that nobody uses right now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port() -> int:
    """One such port."""
    (port,) = free_ports(1)
    return port


@attrs.define
class Server:
    """A running process and the file that takes its output."""

    process: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def start(cls, command: list[str], output: Path, tree: Path = PROJECT) -> Server:
        """Run ``command`` in ``tree`` as an installed program runs: with bytecode, without proxies."""
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPATH"] = str(tree)
        with output.open("ab") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=tree, env=environment)
        return cls(process, output)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when ``ready`` says so; raises ``WrongAnswer`` with the output when the process ends or is not ready in time."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise WrongAnswer(f"{self.process.args!r} did not start:\n{self.output.read_text(errors='replace')[-3000:]}")
            time.sleep(0.002)

    def stop(self) -> None:
        """End the process kindly, else firmly."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def memory(self) -> Mapping[str, int]:
        """``VmRSS`` (resident now) and ``VmHWM`` (resident at most) of the process, in bytes."""
        return self.memory_of(self.process.pid)

    @staticmethod
    def memory_of(pid: int) -> Mapping[str, int]:
        """The same of any process."""
        status = Path(f"/proc/{pid}/status").read_text()
        return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.M)}

    def cpu_seconds(self) -> float:
        """Processor time the process used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def accepts(port: int) -> bool:
    """Whether somebody listens at ``port`` of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@attrs.define
class Twistpi:
    """A ``twistd -n twistpi`` process."""

    server: Server
    url: str
    """Without a slash at the end."""
    serverdir: Path

    @classmethod
    def start(cls, serverdir: Path, upstream: str, *options: str, build: Build = THIS, port: int | None = None) -> Twistpi:
        """Start ``build`` on ``serverdir`` with further ``options``, and return once it accepts connections.

        ``port`` is the one to wait for where ``options`` say where to listen.
        """
        port = port or free_port()
        command = [*_twistpi_command(build, serverdir, upstream, port), *options]
        server = Server.start(command, serverdir.with_suffix(".out"), build.tree)
        server.wait_until(lambda: accepts(port))
        return cls(server, f"http://127.0.0.1:{port}", serverdir)

    @classmethod
    def seconds_to_answer(cls, serverdir: Path, upstream: str, path: str, build: Build = THIS) -> float:
        """Return seconds from starting a process to its whole first answer to a GET of ``path``, and stop the process again."""
        started = time.perf_counter()
        twistpi = cls.start(serverdir, upstream, build=build)
        try:
            get(f"{twistpi.url}{path}")
            return time.perf_counter() - started
        finally:
            twistpi.stop()

    def wait_for_view(self) -> None:
        """Return once the view is built, which a start after many changes does while it accepts connections."""

        def is_built() -> bool:
            try:
                get(f"{self.url}/+api")
            except WrongAnswer:
                return False
            return True

        self.server.wait_until(is_built)

    def page_url(self, project: str) -> str:
        """The page of ``project`` on ``root/pypi``."""
        return f"{self.url}/root/pypi/+simple/{project}/"

    def stop(self) -> None:
        """End it."""
        self.server.stop()


def _twistpi_command(build: Build, serverdir: Path, upstream: str, port: int) -> list[str]:
    arguments = ["--serverdir", str(serverdir), "--port", str(port), *(["--upstream", upstream] if upstream else [])]
    beside = build.python.with_name("twistd")
    program = str(beside) if beside.exists() else shutil.which("twistd") or "twistd"
    return [str(build.python), program, "-n", "--pidfile=", "twistpi", *arguments]
