"""What the scripts share: a small index on loopback, a wheel made in memory, and commands with a clean environment."""

import hashlib
import io
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON_PAGE = "application/vnd.pypi.simple.v1+json"


def make_wheel(project: str, version: str) -> tuple[str, bytes]:
    """Return the file name and the bytes of a wheel with nothing in it."""
    name, folder = project.replace("-", "_"), f"{project.replace('-', '_')}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


class LoopbackIndex:
    """A server that answers the paths of ``answers`` (status, headers, body) and 404 to the rest; ``asked`` has every path."""

    def __init__(self) -> None:
        answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                """Print nothing."""

            def do_GET(self) -> None:
                asked.append(self.path)
                status, headers, body = answers.get(self.path, (404, {}, b"not here"))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

        self.answers, self.asked = answers, asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.simple = f"{self.url}/simple/"

    def add_file(self, filename: str, body: bytes, **more: object) -> dict[str, object]:
        """Serve a file; return its entry in a JSON page, with ``more`` fields (underscores stand for hyphens)."""
        self.answers[f"/files/{filename}"] = (200, {"Content-Type": "application/octet-stream"}, body)
        entry: dict[str, object] = {"filename": filename, "url": f"/files/{filename}", "size": len(body)}
        entry["hashes"] = {"sha256": hashlib.sha256(body).hexdigest()}
        return entry | {key.replace("_", "-"): value for key, value in more.items()}

    def add_page(self, project: str, *files: dict[str, object], version: str = "1.1", **more: object) -> bytes:
        """Serve the JSON page of a project; return its bytes."""
        versions = sorted({str(file["filename"]).split("-")[1] for file in files})
        page = {"meta": {"api-version": version}, "name": project, "versions": versions, "files": files}
        body = json.dumps(page | {key.replace("_", "-"): value for key, value in more.items()}).encode()
        self.answers[f"/simple/{project}/"] = (200, {"Content-Type": JSON_PAGE}, body)
        return body

    def add_html(self, project: str, head: str, links: str) -> None:
        """Serve the HTML page of a project."""
        body = f"<!DOCTYPE html><html><head>{head}<title>{project}</title></head><body>{links}</body></html>".encode()
        self.answers[f"/simple/{project}/"] = (200, {"Content-Type": "text/html; charset=utf-8"}, body)


def environment() -> dict[str, str]:
    """Return an environment without anybody's configuration."""
    return {"PATH": os.environ["PATH"], "HOME": os.getcwd(), "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}


def run(*command: str) -> tuple[bool, str]:
    """Run a command; return whether it succeeded, and what it printed."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    return done.returncode == 0, done.stdout + done.stderr


def pip_install(index: str, requirement: str) -> tuple[bool, str]:
    """Install with the pip of ``venv`` into a folder of its own."""
    where = ("--target", f"by-pip-{time.monotonic_ns()}")
    return run("venv/bin/pip", "install", "--no-cache-dir", *where, "--index-url", index, requirement)


def uv_install(index: str, requirement: str) -> tuple[bool, str]:
    """Install with the uv of ``venv`` into a folder of its own."""
    where = ("--python", "venv/bin/python", "--target", f"by-uv-{time.monotonic_ns()}")
    return run("venv/bin/uv", "pip", "install", "--no-cache", *where, "--index-url", index, requirement)


class Server:
    """A server program at a free port of the loopback interface, for the length of a ``with`` block."""

    def __init__(self, *command: str, **more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._command = [part.replace("PORT", str(self._port)) for part in command]
        self._more = more

    def __enter__(self) -> "Server":
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, env=environment() | self._more, stdout=quiet, stderr=quiet)
        for _ in range(300):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self._port)) == 0:
                    return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"{self._command[0]} does not listen")

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait()

    def get(self, path: str, accept: str = "*/*") -> tuple[int, Mapping[str, str], bytes]:
        """Return the status, the header fields and the body that the server answers."""
        request = urllib.request.Request(self.url + path, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


def pypiron(upstream: str) -> Server:
    """Return the pypiron of ``venv`` as a proxy of ``upstream``, without its age limit and advisories."""
    accounts = ("--uploader-user", "u", "--uploader-pass", "p", "--admin-user", "a", "--admin-pass", "q")
    reach = ("--proxy-upstream", upstream, "--allow-insecure-upstream", "--proxy-allow-cidr", "127.0.0.0/8")
    limits = ("--advisory-feed", "", "--exclude-newer", "")
    return Server("venv/bin/pypiron", "serve", "--data-dir", "data", "--bind-addr", "127.0.0.1:PORT", *reach, *limits, *accounts)


def proxpi(upstream: str) -> Server:
    """Return the proxpi of ``venv`` as a proxy of ``upstream``."""
    return Server("venv/bin/flask", "run", "--port", "PORT", FLASK_APP="proxpi.server", PROXPI_INDEX_URL=upstream)
