"""What ``twistpi import --simple`` makes of a simple index."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.commands import looking, run
from tests.fakes.distributions import sdist_of, wheel_of
from twistpi.model.releases import Release

WHEEL, SDIST, OTHER = wheel_of("demo", "1.0"), sdist_of("demo", "1.0"), sdist_of("other", "2.0")
JSON = "application/vnd.pypi.simple.v1+json"
AT = "2019-05-01T10:20:30.123456Z"


@attrs.define(eq=False)
class Index:
    """A simple index on loopback."""

    port: int = 0
    documents: dict[str, tuple[int, str, bytes]] = attrs.field(factory=dict)
    """Path -> status, content type (or where to), body."""
    short: set[str] = attrs.field(factory=set)
    """Paths whose bodies break off."""
    asked: list[tuple[str, str | None]] = attrs.field(factory=list)
    """Paths with the ``Authorization``."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/simple/"

    def page(self, project: str, *files: dict[str, Any]) -> None:
        """Serve a page in JSON."""
        body = {"meta": {"api-version": "1.1"}, "name": project, "files": files}
        self.documents[f"/simple/{project}/"] = (200, JSON, json.dumps(body).encode())

    def html(self, project: str, *links: str) -> None:
        """Serve a page in HTML."""
        text = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"
        self.documents[f"/simple/{project}/"] = (200, "text/html", text.encode())

    def file(self, filename: str, content: bytes) -> str:
        """Serve a file; its address."""
        self.documents[f"/files/{filename}"] = (200, "application/octet-stream", content)
        return f"../../files/{filename}"


@pytest.fixture
def index() -> Iterator[Index]:
    """An index with two projects."""
    served = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Authorization")))
            status, kind, body = served.documents.get(self.path, (404, "text/plain", b"nothing"))
            self.send_response(status)
            self.send_header("Location" if status == 302 else "Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:-10] if self.path in served.short else body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    names = {"meta": {"api-version": "1.1"}, "projects": [{"name": "demo"}, {"name": "Other"}]}
    served.documents["/simple/"] = (200, JSON, json.dumps(names).encode())
    facts = {"requires-python": ">=3.8", "upload-time": AT, "yanked": "broken", "size": len(WHEEL.content)}
    wheel = {"filename": WHEEL.filename, "url": served.file(WHEEL.filename, WHEEL.content), "hashes": {"sha256": WHEEL.sha256}}
    sdist = {"filename": SDIST.filename, "url": served.file(SDIST.filename, SDIST.content), "hashes": {}}
    served.page("demo", {**wheel, **facts}, sdist)
    md5 = hashlib.md5(OTHER.content).hexdigest()
    served.html("other", f'<a href="{served.file(OTHER.filename, OTHER.content)}#md5={md5}">{OTHER.filename}</a>')
    yield served
    server.shutdown()
    server.server_close()


def imported(tmp_path: Path, index: Index, *words: str, status: int = 0) -> dict[str, Any]:
    words = ("--simple", index.url, "--into", "ann/dev", *words)
    result = run(tmp_path / "data", "import", "--json", *words, no_proxy="127.0.0.1")
    assert result.exit_code == status, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def release_of(tmp_path: Path, project: str, version: str) -> Release:
    with looking(tmp_path / "data") as reader:
        found = reader.release("ann/dev", project, version)
    assert found is not None
    return found


def test_a_simple_index_becomes_releases_of_a_private_one(tmp_path: Path, index: Index) -> None:
    report = imported(tmp_path, index)
    assert report["counts"]["files"] == {"taken": 3, "there": 0, "refused": 0}
    demo, other = release_of(tmp_path, "demo", "1.0"), release_of(tmp_path, "other", "2.0")
    files = {file.known.link.filename: file.known for file in demo.files}
    link = files[WHEEL.filename].link
    assert (link.upload_time, link.yanked, link.requires_python) == (AT, "broken", ">=3.8")
    assert files[WHEEL.filename].metadata_sha256 is not None
    assert files[SDIST.filename].sha256 == SDIST.sha256, "what has no digest is taken all the same"
    assert demo.metadata["metadata_version"], "the files describe the release"
    assert [file.known.sha256 for file in other.files] == [OTHER.sha256]
    assert run(tmp_path / "data", "check").exit_code == 0


def test_a_second_import_fetches_no_file_whose_digest_is_known(tmp_path: Path, index: Index) -> None:
    imported(tmp_path, index)
    index.asked.clear()
    report = imported(tmp_path, index)
    assert report["counts"]["files"] == {"taken": 0, "there": 3, "refused": 0}
    fetched = [path for path, _ in index.asked if path.startswith("/files/")]
    assert fetched == [f"/files/{SDIST.filename}"], "only the one without a digest"


def test_only_the_projects_that_a_file_names_are_imported(tmp_path: Path, index: Index) -> None:
    (tmp_path / "ours.txt").write_text("# ours\nDemo  # and no other\n\n")
    report = imported(tmp_path, index, "--projects", str(tmp_path / "ours.txt"))
    assert report["counts"]["files"]["taken"] == 2
    assert "/simple/" not in [path for path, _ in index.asked]


def test_what_is_wrong_is_named_and_the_rest_is_taken(tmp_path: Path, index: Index) -> None:
    wrong = {"filename": WHEEL.filename, "url": index.file(WHEEL.filename, b"other"), "hashes": {"sha256": WHEEL.sha256}}
    short = {"filename": SDIST.filename, "url": index.file(SDIST.filename, SDIST.content), "hashes": {}}
    gone = {"filename": "demo-2.0.tar.gz", "url": "../../files/demo-2.0.tar.gz", "hashes": {}}
    odd = {"filename": "demo-of-what.zip", "url": "../../files/x", "hashes": {}}
    index.page("demo", wrong, short, gone, odd)
    index.short.add(f"/files/{SDIST.filename}")
    names = {"meta": {"api-version": "1.1"}, "projects": [{"name": "demo"}, {"name": "other"}, {"name": "missing"}]}
    index.documents["/simple/"] = (200, JSON, json.dumps(names).encode())
    report = imported(tmp_path, index, status=1)
    told = " ".join(one["text"] for one in report["differences"])
    assert f"instead of {WHEEL.sha256}" in told
    assert "broke off, 10 bytes early" in told
    assert "files/demo-2.0.tar.gz answered 404" in told
    assert "simple/missing/ answered 404" in told
    assert report["counts"]["files"] == {"taken": 1, "there": 0, "refused": 4}
    with looking(tmp_path / "data") as reader:
        assert reader.projects("ann/dev") == ["other"], "no release is left without its file"


def test_credentials_stay_with_their_server(tmp_path: Path, index: Index) -> None:
    other = f"http://localhost:{index.port}/files/{WHEEL.filename}"
    index.file(WHEEL.filename, WHEEL.content)
    index.documents["/moved"] = (302, other, b"")
    index.page("demo", {"filename": WHEEL.filename, "url": "../../moved", "hashes": {"sha256": WHEEL.sha256}})
    index.documents.pop("/simple/other/")
    words = ("--simple", index.url.replace("//", "//ann:secret@"), "--into", "ann/dev")
    run(tmp_path / "data", "import", *words, no_proxy="127.0.0.1,localhost")
    sent = dict(index.asked)
    assert sent["/moved"] is not None
    assert sent[f"/files/{WHEEL.filename}"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "name either the folder of an export, or --simple URL"),
        (("--simple", "https://pkgs.example/simple/"), "--simple and --into go together"),
        (("--simple", "https://pkgs.example/simple/", "--into", "dev"), "'dev' is not an index: write user/index"),
        (("--simple", "ftp://pkgs.example/", "--into", "ann/dev"), "it is not an http or https address"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    result = run(tmp_path / "data", "import", *words)
    assert result.exit_code != 0
    assert sentence in result.output


def test_a_mirror_takes_nothing(tmp_path: Path, index: Index) -> None:
    assert run(tmp_path / "data", "init", "--upstream", index.url).exit_code == 0
    result = run(tmp_path / "data", "import", "--simple", index.url, "--into", "root/pypi", no_proxy="127.0.0.1")
    assert result.exit_code == 1
    assert "cannot submit to mirror index" in result.output


def test_what_is_no_devpi_server_makes_nothing(tmp_path: Path, index: Index) -> None:
    url = index.url.replace("//", "//root:secret@").removesuffix("simple/")
    result = run(tmp_path / "data", "import", "--live", url, no_proxy="127.0.0.1")
    assert result.exit_code == 1
    assert "refuses the login of root" in result.output
    assert "secret" not in result.output
    assert not (tmp_path / "data").exists()
