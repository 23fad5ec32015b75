"""Nodes of a cluster beside a server with a directory: ``python -m bench.cluster_speed [--quick]``.

Three nodes, PostgreSQL and SeaweedFS run on this machine, and so does what asks them: what uploads gain from more nodes is
limited by the processors that are left for these.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import orjson

from bench.builds import THIS
from bench.client import INSTALLER_ACCEPT, download, get, seconds_of_threads
from bench.corpus import MEGABYTE, SMALL_PAGE_FILES
from bench.figures import Figure, Target, as_table, compared, interleaved
from bench.load import load
from bench.servers import Server, Twistpi, accepts, free_port
from bench.stage import Stage
from bench.upload_client import Upload, UploadClient, create_index, small_wheels
from tests.fakes.postgres import postgres
from tests.fakes.s3_server import S3Server, start_s3_server

_NODES = 3
_CLIENTS = 30
"""For uploads and for one cold file; each node has a third of them."""
_WHEELS = 480
_COLD_MEGABYTES = 8
_SETTLE_SECONDS = 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when one misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_speed", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args(arguments)
    s3 = start_s3_server()
    with tempfile.TemporaryDirectory(prefix="twistpi-bench-") as folder:
        stage = Stage.set_up(Path(folder), options.quick)
        servers: list[Twistpi] = []
        try:
            directory = Twistpi.start(stage.folder / "directory", stage.corpus.simple_url)
            servers.append(directory)
            start = _starter(stage, s3)
            servers.append(start())
            stage.say("hot pages")
            figures = [_hot(stage, directory, servers[1])]  # before the other nodes need some of the same processors
            servers += [start() for _ in range(1, _NODES)]
            figures += _measure(stage, directory, servers[1:])
        finally:
            for server in servers:
                server.stop()
            stage.clear_away()
            s3.stop()
    print(as_table(figures))
    return 1 if any(figure.verdict == "MISS" for figure in figures) else 0


def _starter(stage: Stage, s3: S3Server) -> Callable[[], Twistpi]:
    """What starts one more node of one cluster."""
    os.environ.update(s3.environment)
    places = ["--changelog", postgres().new_database(), "--blobs", f"s3://{s3.new_bucket()}/files", "--s3-endpoint", s3.url]
    numbers = count(1)

    def start() -> Twistpi:
        port, cache = free_port(), stage.folder / f"cache{next(numbers)}"
        words = ["--cache-dir", str(cache), "--port", str(port), "--upstream", stage.corpus.simple_url, *places]
        command = [str(THIS.python), str(THIS.python.with_name("twistd")), "-n", "--pidfile=", "twistpi", *words]
        server = Server.start(command, cache.with_suffix(".out"), THIS.tree)
        server.wait_until(lambda: accepts(port))
        node = Twistpi(server, f"http://127.0.0.1:{port}", cache)
        node.wait_for_view()
        return node

    return start


def _measure(stage: Stage, directory: Twistpi, nodes: Sequence[Twistpi]) -> Iterator[Figure]:
    stage.say("cold files")
    yield _cold(stage, directory, nodes[0])
    yield _shared(stage, nodes)
    stage.say("uploads")
    yield _uploads(stage, nodes)


def _hot(stage: Stage, directory: Twistpi, node: Twistpi) -> Figure:
    project = stage.corpus.add_project("hot", SMALL_PAGE_FILES)
    for server in (directory, node):
        get(server.page_url(project), INSTALLER_ACCEPT)

    def rate(server: Twistpi) -> Callable[[], float]:
        headers = {"Accept": INSTALLER_ACCEPT}
        return lambda: load(server.page_url(project), 2, headers).answers_per_second

    first, second, third, fourth = interleaved(stage.rounds(12, 2), rate(node), rate(directory), rate(directory), rate(node))
    target = Target("at least", 0.95)
    return compared("hot page of a node", "answers/s", first + fourth, second + third, "directory", target)


def _cold(stage: Stage, directory: Twistpi, node: Twistpi) -> Figure:
    waits: tuple[list[float], list[float]] = ([], [])
    for number in range(stage.rounds(15, 5)):
        for server, wait in zip((node, directory), waits, strict=True):
            project = f"cold-{number}-{urlsplit(server.url).port}"
            stage.corpus.add_file(project, _COLD_MEGABYTES * MEGABYTE)
            wait.append(1000 * download(_file_url(server, project)).first_byte)
    later = statistics.median(ours - theirs for ours, theirs in zip(*waits, strict=True))
    name = f"cold {_COLD_MEGABYTES} MB file: first byte of a node after that of a directory"
    target = Target("at most", 15, of="value")
    return Figure(name, later, "ms", statistics.median(waits[1]), "directory's first byte", target=target)


def _shared(stage: Stage, nodes: Sequence[Twistpi]) -> Figure:
    fetches = 0
    for number in range(stage.rounds(5, 2)):
        direct = stage.corpus.add_file(f"shared-{number}", _COLD_MEGABYTES * MEGABYTE)
        urls = [_file_url(node, f"shared-{number}") for node in nodes]
        seconds_of_threads([partial(_take, urls[client % _NODES]) for client in range(_CLIENTS)])
        fetches = max(fetches, len(stage.nginx.fetches(urlsplit(direct).path)))
    name = f"{_CLIENTS} clients of {_NODES} nodes for one cold file: upstream fetches"
    return Figure(name, fetches, "fetches", target=Target("exactly", 1, of="value"))


def _take(url: str) -> None:
    assert download(url).size == _COLD_MEGABYTES * MEGABYTE


def _uploads(stage: Stage, nodes: Sequence[Twistpi]) -> Figure:
    create_index(nodes[0])
    time.sleep(_SETTLE_SECONDS)
    names = count()

    def rate(some: Sequence[Twistpi]) -> Callable[[], float]:
        def measure() -> float:
            wheels = small_wheels(stage.folder, f"small{next(names)}", stage.rounds(_WHEELS, 96))
            works = [partial(_upload, some[client % len(some)], wheels[client::_CLIENTS]) for client in range(_CLIENTS)]
            return len(wheels) / seconds_of_threads(works)

        return measure

    for node in nodes:
        rate([node])()
    three, one = interleaved(stage.rounds(5, 2), rate(nodes), rate(nodes[:1]))
    name = f"small wheels uploaded to {_NODES} nodes, {_CLIENTS} clients"
    return compared(name, "wheels/s", three, one, "one node", Target("at least", 1.5))


def _upload(node: Twistpi, wheels: Sequence[Upload]) -> None:
    with UploadClient(node.url) as client:
        for wheel in wheels:
            client.send(wheel)


def _file_url(server: Twistpi, project: str) -> str:
    page = server.page_url(project)
    (link,) = orjson.loads(get(page, INSTALLER_ACCEPT).body)["files"]
    return urljoin(page, str(link["url"]))


if __name__ == "__main__":
    sys.exit(main())
