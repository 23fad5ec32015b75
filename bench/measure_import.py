"""The import of an export of devpi-server with many small wheels, and the export: files a second, and memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import attrs
import orjson

from bench.figures import Figure, Target
from bench.stage import Stage

_FULL_FILES, _QUICK_FILES = 10_000, 4_000
_OF_ONE_PROJECT = 10
_LEAST, _MOST_MEGABYTES = 300.0, 120.0
_COMMAND = (sys.executable, "-c", "from twistpi.cli.main import main; main()")
_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: >=3.8\nSummary: one of many\n\n{text}"
_TEXT = "A description of the usual kind. " * 30


@attrs.frozen
class _Run:
    """What a command took."""

    seconds: float
    megabytes: float
    """Resident at most."""

    @classmethod
    def of(cls, *words: str) -> _Run:
        """Run a command of twistpi's to its end."""
        started = time.perf_counter()
        with subprocess.Popen([*_COMMAND, *words], stdout=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"twistpi {' '.join(words)} ended with {process.returncode}")
        return cls(time.perf_counter() - started, used.ru_maxrss / 1024)


def measure(stage: Stage) -> list[Figure]:
    """Move in, once more, and out."""
    count = stage.rounds(_FULL_FILES, _QUICK_FILES)
    dump, data = stage.folder / "dump", stage.folder / "imported"
    write_dump(dump, count)
    first = _Run.of("import", "--serverdir", str(data), str(dump))
    again = _Run.of("import", "--serverdir", str(data), str(dump))
    out = _Run.of("export", "--serverdir", str(data), str(stage.folder / "out"))
    return [
        *_figures(f"import of {count:,} small wheels", count, first),
        Figure("import of the same again", again.seconds, "s", note="nothing is new"),
        *_figures(f"export of {count:,} small wheels", count, out),
    ]


def _figures(name: str, count: int, run: _Run) -> list[Figure]:
    return [
        Figure(name, count / run.seconds, "files/s", target=Target("at least", _LEAST, of="value")),
        Figure(f"memory of the {name}", run.megabytes, "MB", target=Target("below", _MOST_MEGABYTES, of="value")),
    ]


def write_dump(folder: Path, count: int) -> None:
    """Write an export with so many wheels."""
    folder.mkdir(parents=True)
    projects: dict[str, dict[str, object]] = {}
    files: list[dict[str, object]] = []
    for number in range(count):
        project, version = f"project-{number // _OF_ONE_PROJECT}", f"1.{number % _OF_ONE_PROJECT}"
        name = f"project_{number // _OF_ONE_PROJECT}-{version}"
        path = folder / project / version / f"{name}-py3-none-any.whl"
        path.parent.mkdir(parents=True)
        metadata = _METADATA.format(name=project, version=version, text=_TEXT)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(f"{name}.dist-info/METADATA", metadata)
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")
        mapping = {
            "hashes": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
            "last_modified": "Sun, 29 Nov 2026 02:59:32 GMT",
        }
        fields = {"name": project, "version": version, "requires_python": ">=3.8", "description": _TEXT}
        projects.setdefault(project, {})[version] = fields
        files.append(
            {
                "type": "releasefile",
                "projectname": project,
                "version": version,
                "relpath": str(path.relative_to(folder)),
                "entrymapping": mapping,
                "log": [{"what": "upload", "who": "ann", "when": [2026, 11, 29, 2, 59, 32], "dst": "ann/dev"}],
            }
        )
    index = {"indexconfig": {"type": "stage"}, "projects": projects, "files": files}
    (folder / "dataindex.json").write_bytes(
        orjson.dumps({"users": {"ann": {}}, "indexes": {"ann/dev": index}, "dumpversion": "2"})
    )
