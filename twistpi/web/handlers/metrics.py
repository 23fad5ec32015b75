"""``/+metrics``: every figure of this process, as Prometheus reads it.

Whoever has figures is in ``measuring``; what this file adds is about requests and about the process.  Figures
tell how much a company installs and what it is called inside, so they are for this machine, for the networks of the setting
metrics-from, and for root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from twisted.web.server import Request

from twistpi.model.account_errors import Forbidden
from twistpi.model.accounts import ROOT
from twistpi.model.monitoring import Measure, Measured
from twistpi.web.access import Access
from twistpi.web.addresses import UNIX, Addresses, Network, client_address, is_local
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.replies import NO_STORE, Reply, Responder, length_of
from twistpi.web.request import header
from twistpi.web.services import NodeFacts
from twistpi.web.traffic import BUCKETS, Traffic


@attrs.define(eq=False)
class MetricsHandler:
    """Answers ``/+metrics``."""

    _access: Access
    _responder: Responder
    _addresses: Addresses
    _open_to: Sequence[Network]
    """The networks from which the figures may be read, beside this machine."""
    _figures: Figures
    _registry: CollectorRegistry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._figures)
        ProcessCollector(registry=self._registry)

    async def metrics(self, request: Request) -> bytes:
        """The figures, as text or in the OpenMetrics format, as ``Accept`` says.  Raises ``Forbidden``."""
        if not self._is_near(request):
            principal = await self._access.principal(request)
            if principal.user != ROOT or principal.token is not None:
                raise Forbidden(
                    "the figures of this server are for its own machine, for root, and for the networks that the setting"
                    " metrics-from names"
                )
        encode, kind = choose_encoder(header(request, "accept") or "")
        body = encode(self._registry)
        headers = ((b"Content-Type", kind.encode("ascii")), length_of(body), NO_STORE, (b"Vary", b"Accept, Authorization"))
        return self._responder.put(request, Reply(200, headers, body))

    def _is_near(self, request: Request) -> bool:
        if is_local(request, self._addresses):
            return True
        told = client_address(request, self._addresses)
        if told == UNIX:
            return False
        address = ip_address(told)
        return any(address.version == network.version and address in network for network in self._open_to)


@attrs.define(eq=False)
class Figures(Collector):
    """Everything that is measured in this process."""

    _node: NodeFacts
    _software: str
    _traffic: Traffic
    _ready: ReadyAnswers
    _access: Access
    _responder: Responder
    _measuring: Sequence[Measured]

    def collect(self) -> Iterator[Metric]:
        """Everything at this moment."""
        software, _, version = self._software.partition("/")
        about = GaugeMetricFamily(f"{software}_info", "What this server is; always 1", labels=("version", "role", "node"))
        about.add_metric((version, self._node.role, self._node.node_id), 1)
        yield about
        yield from _requests(self._traffic)
        yield from families(measure for measuring in (self._own, *self._measuring) for measure in measuring())

    def _own(self) -> Iterator[Measure]:
        yield Measure("twistpi_view_serial", "gauge", "The last serial that readers see", self._responder.serial)
        yield Measure("twistpi_page_cache_pages", "gauge", "Ready pages in memory", len(self._ready.page_cache))
        yield Measure("twistpi_page_cache_bytes", "gauge", "Memory they take", self._ready.page_cache.size)
        yield Measure("twistpi_passwords_hashed", "counter", "Passwords that were hashed", self._access.authenticator.line.hashed)
        yield Measure("twistpi_response_bytes", "counter", "Bytes of bodies that were sent", self._traffic.sent)
        for origin, number in sorted(self._traffic.pages_by_origin.items()):
            labels = (("origin", origin),)
            help = "Project pages by origin: memory, hit (rendered from what is known), miss, revalidated, stale"
            yield Measure("twistpi_pages", "counter", help, number, labels)


def _requests(traffic: Traffic) -> Iterator[Metric]:
    requests = CounterMetricFamily("twistpi_requests", "Requests answered, by kind and status", labels=("kind", "status"))
    for kind, status, number in traffic.answered:
        requests.add_metric((kind, str(status)), number)
    yield requests
    counts, seconds = traffic.durations
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    yield HistogramMetricFamily(
        "twistpi_request_seconds", "Time from a request's last header line to the end of its answer", buckets, seconds
    )


def families(measures: Iterable[Measure]) -> Iterator[Metric]:
    """``measures`` as the client library has them: one family for each name, with its labels."""
    found: dict[str, Any] = {}
    for measure in measures:
        family = found.get(measure.name)
        if family is None:
            made = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
            family = found[measure.name] = made(measure.name, measure.help, labels=[name for name, _value in measure.labels])
        family.add_metric([value for _name, value in measure.labels], measure.value)
    yield from found.values()
