"""What the figures were measured on: figures without their machine say little."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path


def describe() -> Mapping[str, str]:
    """What is the machine, and what ran on it."""
    processor = _first(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo")
    kilobytes = int(_first(r"^MemTotal:\s*(\d+)", "/proc/meminfo"))
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{processor}, {os.cpu_count()} cores",
        "memory": f"{kilobytes / (1 << 20):.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(tempfile.gettempdir()),
        "python": sys.version.split()[0],
        "twisted": version("twisted"),
        "nginx": _said(["nginx", "-v"], r"nginx/([\d.]+)"),
        "wrk": _said(["wrk", "-v"], r"wrk (?:\w+/)?([\d.]+)"),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _first(pattern: str, path: str) -> str:
    found = re.search(pattern, Path(path).read_text(), re.M)
    return found[1].strip() if found else "?"


def _said(command: list[str], pattern: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found[1] if found else "?"


def _file_system(path: str) -> str:
    """The type of the file system that holds ``path``: that of its longest mount point."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(point, kind) for point, kind in mounts if Path(path).is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1]
