"""A page of another site with Python in it: Pyodide from npm, and micropip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from tests.live.installers import kept, public_pip
from tests.live.node import npm

PYODIDE: Final = "pyodide@314.0.7"
MICROPIP: Final = "micropip==0.11.1"
_PYTHON: Final = "3.14"
"""Of that Pyodide."""
_PAGE: Final = '<!DOCTYPE html><html lang="en"><title>Notebook</title><script src="package/pyodide.js"></script>'


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def pyodide_folder() -> Path:
    """A folder with the page, Pyodide, and the wheels of micropip.  Blocking; filled at first use."""

    def fill(folder: Path) -> None:
        shutil.unpack_archive(folder / npm(folder, "pack", "--silent", PYODIDE).strip(), folder)
        wheels = ("--no-deps", "--python-version", _PYTHON, "--only-binary", ":all:", "--dest", str(folder))
        public_pip("download", *wheels, MICROPIP, "packaging")
        (folder / "index.html").write_text(_PAGE)

    return kept(PYODIDE, fill)


@contextmanager
def other_site(folder: Path) -> Iterator[str]:
    """Serve ``folder`` at another origin; its address.  Blocking."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
