"""Breaks the nodes of a cluster, their database and their bucket, one at a time, and repairs them again."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from tests.fakes.live_cluster import LiveCluster, LiveNode
from tests.fakes.unruly_proxy import Cut, Direction, Fault, Reply

_APPEND = b"WITH head AS"
"""How the statement begins that commits."""
_DIRECTIONS: Sequence[Direction] = ("up", "down", "down")


def _s3_error(status: int, code: str) -> bytes:
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {len(xml)}\r\n\r\n"
    return head.encode() + xml


_ERRORS = (_s3_error(500, "InternalError"), _s3_error(503, "ServiceUnavailable"), _s3_error(503, "SlowDown"))


@attrs.define(eq=False)
class Chaos:
    """See the module."""

    cluster: LiveCluster
    chance: random.Random
    strikes: Counter[str]
    complain: Callable[[str], object]

    def strike(self) -> None:
        """Break something; what is broken for longer than a moment is mended when this returns.  Blocking."""
        kinds = {
            self.restart_the_database: 1,
            self.cut_inside_commits: 4,
            self.cut_off_a_node: 1,
            self.stall_the_bucket: 2,
            self.fail_the_bucket: 3,
        }
        kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
        self.strikes[kind.__name__.replace("_", " ")] += 1
        kind()

    def kill_a_node(self) -> LiveNode:
        """Kill one, which stays dead, and return it."""
        self.strikes["kill a node"] += 1
        node = self._node()
        if node.server.process is None or node.server.process.poll() is not None:
            self.complain(f"a node ended by itself: {node.server.told()[-2000:]}")
        node.kill()
        if "Traceback" in node.logs[-1]:
            self.complain(node.logs[-1][-3000:])
        return node

    def start_again(self, node: LiveNode) -> None:
        """Start it, sometimes without anything that it had."""
        if self.chance.random() < 0.3:
            shutil.rmtree(node.server.serverdir, ignore_errors=True)
        node.start()

    def restart_the_database(self) -> None:
        """In order, or as if it had crashed."""
        self.cluster.postgres.end(self.chance.choice((signal.SIGINT, signal.SIGQUIT)))
        time.sleep(self.chance.uniform(0, 1.5))
        self.cluster.postgres.start()

    def cut_inside_commits(self) -> None:
        """Cut connections after an entry was sent: before it came, or before it was known that it had been committed."""
        for node in self.cluster.nodes:
            after = self.chance.choice((0, 0, 1, 20, 200))
            node.database.will(Cut(asked=_APPEND, after=after, direction=self.chance.choice(_DIRECTIONS)))

    def cut_off_a_node(self) -> None:
        """Let nothing through between a node and the database for a while."""
        node = self._node()
        node.database.stall()
        time.sleep(self.chance.uniform(0.5, 4.0))
        if self.chance.random() < 0.5:
            node.database.cut()
        node.database.release()

    def stall_the_bucket(self) -> None:
        """Let nothing through between a node, or all, and the bucket for a while."""
        nodes = self.chance.choice(([self._node()], self.cluster.nodes))
        for node in nodes:
            node.bucket.stall()
        time.sleep(self.chance.uniform(0.5, 4.0))
        for node in nodes:
            node.bucket.release()

    def fail_the_bucket(self) -> None:
        """Have it answer with errors, and break connections off, at some of the next requests."""
        for node in self.cluster.nodes:
            node.bucket.will(*(self._bucket_fault() for _ in range(self.chance.randrange(1, 6))))

    def _bucket_fault(self) -> Fault:
        asked = self.chance.choice((b"PUT /", b"PUT /", b"GET /", b"HEAD /"))
        if self.chance.random() < 0.2:
            return Cut(asked=asked, after=self.chance.choice((0, 100, 5000)), direction=self.chance.choice(_DIRECTIONS))
        return Reply(asked=asked, content=self.chance.choice(_ERRORS))

    def _node(self) -> LiveNode:
        return self.chance.choice(self.cluster.nodes)
