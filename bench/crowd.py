"""Many installers at once: ``python -m bench.crowd URL CONNECTIONS ROUNDS PAGE METADATA FILE``, in a process of its own.

Every one has a connection, all of them opened in the same moment, and asks for a page, the metadata of a file and the file, again
and again, thinking in between as an installer does.  Prints JSON: how many answers came, what failed, and how long pages took.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs
import orjson

from bench.client import INSTALLER_ACCEPT

_THINKING = 0.75
"""Seconds, in the mean, between an answer and the next question."""
_PATIENCE = 30.0
"""Seconds after which an answer counts as one that never came."""


@attrs.define
class Tally:
    """What all of them saw."""

    answers: int = 0
    failures: dict[str, int] = attrs.field(factory=dict)
    page_seconds: list[float] = attrs.field(factory=list)

    def failed(self, reason: str) -> None:
        """Something went wrong."""
        self.failures[reason] = self.failures.get(reason, 0) + 1


async def _installer(host: str, port: int, paths: Sequence[str], rounds: int, tally: Tally, chance: random.Random) -> None:
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _PATIENCE)
    except (OSError, TimeoutError) as error:
        tally.failed(f"connecting: {type(error).__name__}")
        return
    try:
        for turn in range(rounds * len(paths)):
            await asyncio.sleep(chance.uniform(0, 2 * _THINKING))
            path = paths[turn % len(paths)]
            seconds = await asyncio.wait_for(_ask(reader, writer, host, port, path), _PATIENCE)
            tally.answers += 1
            if turn % len(paths) == 0:
                tally.page_seconds.append(seconds)
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        tally.failed(f"asking: {type(error).__name__} {error}"[:100])
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, path: str) -> float:
    """Seconds from the question to the last byte of the answer; ``ValueError`` when that is no 200."""
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: pip/26.3\r\nAccept: {INSTALLER_ACCEPT}\r\n\r\n"
    started = time.perf_counter()
    writer.write(head.encode("ascii"))
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ValueError(answer[:30].decode("latin-1"))
    length = next(int(line[15:]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(length)
    return time.perf_counter() - started


async def crowd(url: str, connections: int, rounds: int, paths: Sequence[str]) -> Tally:
    """All of them, until the last one is through."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    tally, chance = Tally(), random.Random(1)
    await asyncio.gather(
        *(_installer(parts.hostname, parts.port, paths, rounds, tally, chance) for _ in range(connections)),
    )
    return tally


if __name__ == "__main__":
    url, connections, rounds, *paths = sys.argv[1:]
    print(orjson.dumps(attrs.asdict(asyncio.run(crowd(url, int(connections), int(rounds), paths)))).decode())
