"""Where the bytes of pages lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twistpi.web.fast.ready import SMALL, Content
from twistpi.web.transport.bodies import FileBody, MemoryBody

LARGE = os.urandom(SMALL + 1)


def open_pages() -> int:
    """How many files in memory this process holds open for pages."""
    return sum("twistpi page" in os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 3 * SMALL])
def test_what_is_kept_is_read_and_sent_as_it_was(size: int) -> None:
    content = LARGE[:1] * size
    kept = Content(content)
    assert (kept.size, kept.read()) == (size, content)
    body = kept.body()
    sent = b""
    while not body.over:
        sent += body.read(50_000)
    body.close()
    assert sent == content


def test_large_pages_are_sent_from_a_file_and_small_ones_from_memory() -> None:
    small, large = Content(LARGE[:SMALL]).body(), Content(LARGE).body()
    assert (type(small), type(large)) == (MemoryBody, FileBody)
    large.close()


def test_a_page_that_is_forgotten_leaves_no_file_and_is_still_sent_to_its_end() -> None:
    before = open_pages()
    kept = Content(LARGE)
    assert open_pages() == before + 1
    body = kept.body()
    del kept
    assert body.read(len(LARGE)) == LARGE
    body.close()
    assert open_pages() == before


def test_where_no_file_can_be_opened_any_more_a_page_stays_in_memory() -> None:
    program = (
        "import os, resource\n"
        "from twistpi.web.fast.ready import SMALL, Content\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "kept = Content(bytes(SMALL + 1))\n"
        "print(type(kept.body()).__name__, kept.read() == bytes(SMALL + 1))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["MemoryBody", "True"]
