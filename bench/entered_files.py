"""Which files of twistpi a request enters: a server under a profile function is asked, beside an upstream on the loopback."""

from __future__ import annotations

import http.client
import http.server
import os
import signal
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import attrs

from bench.builds import Build
from bench.client import INSTALLER_ACCEPT, WrongAnswer
from bench.corpus import SMALL_PAGE_FILES, Corpus
from bench.servers import Server, accepts, free_port

_TRACED = """
import signal, sys, threading
package, out = sys.argv[1:3]
del sys.argv[1:3]
files = set()
def profile(frame, event, argument):
    if event == "call" and frame.f_code.co_name != "<module>" and frame.f_code.co_filename.startswith(package):
        files.add(frame.f_code.co_filename)
def write(*_):
    sys.setprofile(None)
    found = sorted(files)
    files.clear()
    with open(out + ".new", "w") as file:
        file.write("\\n".join(found))
    __import__("os").rename(out + ".new", out)
    sys.setprofile(profile)
signal.signal(signal.SIGPROF, write)
threading.setprofile(profile)
sys.setprofile(profile)
from twisted.scripts.twistd import run
sys.argv[0] = "twistd"
run()
"""
"""A twistd that writes the files of ``package`` entered since the last SIGPROF into ``out`` at each SIGPROF."""

_TIMES = 3
"""How many pages are asked for, cold and then hot."""


class _Upstream(http.server.SimpleHTTPRequestHandler):
    """Serves what ``Corpus`` writes."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: object, directory: str) -> None:
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]  # what socketserver hands over

    def do_GET(self) -> None:
        body = Path(self.directory, self.path.strip("/"), "index").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@attrs.frozen
class _Traced:
    """A traced server and one kept connection to it."""

    server: Server
    connection: http.client.HTTPConnection
    out: Path

    def files(self, path: str | None = None) -> list[str]:
        """Return the files entered by a GET of ``path``, or those entered until now."""
        if path is not None:
            self.files()
            self.connection.request("GET", path, headers={"Accept": INSTALLER_ACCEPT})
            answer = self.connection.getresponse()
            if len(answer.read()) == 0 or answer.status != 200:
                raise WrongAnswer(f"{path} was answered {answer.status}")
        self.out.unlink(missing_ok=True)
        os.kill(self.server.process.pid, signal.SIGPROF)
        self.server.wait_until(self.out.exists)
        return self.out.read_text().split()


def entered_files(build: Build, folder: Path) -> tuple[list[str], list[str]]:
    """Return the files of twistpi that each cold and each hot project page enters, once the server has answered another page.

    Several pages are asked for, since the server also works in the background: what one of them did not enter, none needs.
    """
    with ExitStack() as stack:
        upstream = stack.enter_context(
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Upstream, directory=str(folder / "upstream")))
        )
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        stack.callback(upstream.shutdown)
        corpus = Corpus(folder / "upstream", f"http://127.0.0.1:{upstream.server_port}")
        port, out = free_port(), folder / "files"
        arguments = ["--serverdir", str(folder / "server"), "--port", str(port), "--upstream", corpus.simple_url]
        twistd = [str(build.python), "-c", _TRACED, f"{build.tree}/twistpi/", str(out), "-n", "--pidfile=", "twistpi"]
        server = Server.start([*twistd, *arguments], folder / "server.out", build.tree)
        stack.callback(server.stop)
        server.wait_until(lambda: accepts(port))
        traced = _Traced(server, http.client.HTTPConnection("127.0.0.1", port), out)
        stack.callback(traced.connection.close)
        first, *others = (f"/root/pypi/+simple/{corpus.add_project(f'p{n}', SMALL_PAGE_FILES)}/" for n in range(_TIMES + 1))
        for _ in range(2):
            traced.files(first)
        return _entered_by_each(traced, others), _entered_by_each(traced, others)


def _entered_by_each(traced: _Traced, pages: list[str]) -> list[str]:
    """Ask for each of ``pages`` once and return the files that each of them entered."""
    return sorted(set.intersection(*(set(traced.files(page)) for page in pages)))
