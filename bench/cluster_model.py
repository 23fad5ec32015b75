"""How large a cluster becomes, what it costs, and what of it is busy first: arithmetic over figures that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

_SECONDS_OF_MONTH: Final = 30 * 86400
_LISTED_AT_ONCE: Final = 1000
"""Objects that one request to a bucket lists."""
_READS_OF_UPLOAD: Final = 2
"""Beside the request that writes."""
_LEASE_RENEWED_EVERY: Final = 10 / 3
"""Seconds."""
_POLLED_EVERY: Final = 1.0
"""Seconds after which a node looks whether it missed something."""


@attrs.frozen
class Units:
    """What was measured, of one entry, file, request or node."""

    line_bytes: float
    """Of an entry in a segment file."""
    row_bytes: float
    """Of an entry in the database, with its indexes."""
    view_bytes_of_file: float
    """Of a file that is listed, in a node's view."""
    view_bytes_of_entry: float
    """Of any other entry."""
    pulled: float
    """Entries a second that a node gets from the database when it starts with nothing."""
    folded: float
    """Entries a second that it folds into an empty view."""
    appended: float
    """Entries a second that all nodes together append, waiting for each other at the head of the log."""
    follow_seconds: float
    """Of a core of a node, for an entry that another one wrote."""
    database_seconds_of_append: float
    """Of a core of the database."""
    database_seconds_of_follow: float
    """The same for each node that gets an entry."""
    connections: int
    """Of a node to the database."""
    memory_bytes: float
    """Of a node that was just started."""


@attrs.frozen
class Scale:
    """How much there is, and how much is done."""

    entries: int = 100_000_000
    files: int = 10_000_000
    nodes: int = 30
    file_bytes: int = 1_000_000
    changes: float = 20.0
    """A second: uploads, pages that changed, files that came into the mirror."""
    downloads: float = 3000.0
    """Files a second that all clients get."""
    pages: float = 15000.0
    """Pages a second."""
    missed: float = 0.02
    """The share of downloads for which a node has to ask the bucket."""


@attrs.frozen
class Capacity:
    """What the machines can do; what was not measured is what such machines are sold with."""

    database_cores: float = 8.0
    database_connections: int = 97
    """``max_connections`` of PostgreSQL as it is installed, less those for its administrator."""
    node_cores: float = 2.0
    node_network: float = 125e6
    """Bytes a second, 1 Gbit/s."""
    hot_pages: float = 5000.0
    """Pages a second that a core of a node sends from memory."""
    files_sent: float = 1500.0
    """Files a second that a core begins to send."""
    bucket_reads: float = 5500.0
    """GET a second, for each prefix of a bucket of Amazon's."""


@attrs.frozen
class Prices:
    """Of a provider, in dollars; of Amazon's first region in 2025."""

    byte_month: float = 0.023 / 1e9
    thousand_writes: float = 0.005
    thousand_reads: float = 0.0004


@attrs.frozen
class Amount:
    """Something that is so large."""

    name: str
    value: float
    unit: str


@attrs.frozen
class Load:
    """How busy something is."""

    name: str
    used: float
    capacity: float
    unit: str

    @property
    def share(self) -> float:
        """Of its capacity; above 1 it is not enough."""
        return self.used / self.capacity


def view_bytes(units: Units, scale: Scale) -> float:
    """Return how large each node's view is."""
    return scale.files * units.view_bytes_of_file + (scale.entries - scale.files) * units.view_bytes_of_entry


def sizes(units: Units, scale: Scale) -> list[Amount]:
    """Return what is stored where."""
    log = scale.entries * units.line_bytes
    view = view_bytes(units, scale)
    started = scale.entries * (1 / units.pulled + 1 / units.folded)
    return [
        Amount("changelog in PostgreSQL, with its index", scale.entries * units.row_bytes / 1e9, "GB"),
        Amount("bucket", scale.files * scale.file_bytes / 1e12, "TB"),
        Amount("disk of a node: copy of the changelog", log / 1e9, "GB"),
        Amount("disk of a node: view", view / 1e9, "GB"),
        Amount("memory of a node, with all of its view in the system's cache", (units.memory_bytes + view) / 1e9, "GB"),
        Amount("a new node without a snapshot serves after", started / 60, "minutes"),
        Amount("growth of the changelog in PostgreSQL", scale.changes * 86400 * units.row_bytes / 1e9, "GB a day"),
        Amount("a garbage collection lists the bucket with", scale.files / _LISTED_AT_ONCE, "requests"),
    ]


def costs(scale: Scale, prices: Prices) -> list[Amount]:
    """Return what a month costs at the provider of the bucket, without what is sent to the internet."""
    stored = scale.files * scale.file_bytes * prices.byte_month
    stores = scale.changes * _SECONDS_OF_MONTH / 1000
    written = stores * (prices.thousand_writes + _READS_OF_UPLOAD * prices.thousand_reads)
    read = scale.downloads * scale.missed * _SECONDS_OF_MONTH / 1000 * prices.thousand_reads
    amounts = {"stored files": stored, "requests for new files": written, "requests for files that a node lacks": read}
    return [Amount(name, dollars, "$") for name, dollars in amounts.items()]


def loads(units: Units, scale: Scale, capacity: Capacity) -> list[Load]:
    """Return how busy everything is, the busiest first."""
    followers = scale.nodes - 1
    polls = scale.nodes * (1 / _POLLED_EVERY + 1 / _LEASE_RENEWED_EVERY) * units.database_seconds_of_follow
    database = scale.changes * (units.database_seconds_of_append + followers * units.database_seconds_of_follow) + polls
    feed = scale.changes * units.line_bytes
    downloads, pages = scale.downloads / scale.nodes, scale.pages / scale.nodes
    serving = pages / capacity.hot_pages + downloads / capacity.files_sent
    found = [
        Load("appends at the head of the log", scale.changes, units.appended, "entries/s"),
        Load("cores of the database", database, capacity.database_cores, "cores"),
        Load("connections to the database", scale.nodes * units.connections, capacity.database_connections, "connections"),
        Load("cores of each node: following", scale.changes * units.follow_seconds, capacity.node_cores, "cores"),
        Load("cores of each node: pages and files", serving, capacity.node_cores, "cores"),
        Load("network of each node", downloads * scale.file_bytes * (1 + scale.missed) + feed, capacity.node_network, "bytes/s"),
        Load("requests to the bucket", scale.downloads * scale.missed, capacity.bucket_reads, "reads/s"),
    ]
    return sorted(found, key=lambda load: -load.share)


def most_changes(units: Units, scale: Scale, capacity: Capacity) -> tuple[float, str]:
    """Return how many changes a second are possible, and what stands in the way of more."""
    busy = loads(units, attrs.evolve(scale, changes=1.0), capacity)
    idle = {load.name: load.used for load in loads(units, attrs.evolve(scale, changes=0.0), capacity)}
    limits = [
        ((load.capacity - idle[load.name]) / (load.used - idle[load.name]), load.name)
        for load in busy
        if load.used > idle[load.name]
    ]
    return min(limits)


def as_lines(title: str, amounts: Sequence[Amount]) -> list[str]:
    """Return a table for people."""
    return [title, *(f"  {amount.name:<78} {amount.value:>12,.1f} {amount.unit}" for amount in amounts)]


def load_lines(title: str, found: Sequence[Load]) -> list[str]:
    """Return a table for people."""
    lines = [f"  {load.name:<38} {load.share:>8.1%}   {load.used:>14,.2f} of {load.capacity:,.0f} {load.unit}" for load in found]
    return [title, *lines]
