"""Operations: health, readiness and metrics for monitoring; garbage collection and promotion for administrators.

Metrics tell how much a company installs and what its projects are called, so they are for this machine, for the networks of the
setting metrics-from, and for root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

import attrs
import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from twisted.web.server import Request

from twistpi.changelog.compaction import Compactor
from twistpi.gc.collector import GarbageCollector, Report
from twistpi.gc.evictor import Evictor
from twistpi.gc.evictor import Report as EvictionReport
from twistpi.gc.garbage import FOLDERS
from twistpi.model.errors import BadRequest, PermissionDenied
from twistpi.model.monitoring import Check, Checked, Measure, Measured
from twistpi.model.records import ROOT, Json
from twistpi.replication.promotion import Promotion
from twistpi.rules.permissions import Action
from twistpi.web.access import Access
from twistpi.web.addresses import UNIX, Addresses, Network, client_address, is_local
from twistpi.web.components import NodeFacts
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.replies import JSON, NO_STORE, Reply, Responder, length_of, result_reply
from twistpi.web.request import header, json_body
from twistpi.web.traffic import BUCKETS, Traffic


@attrs.define(eq=False)
class GarbageHandler:
    """Answers ``/+gc``, for administrators."""

    _access: Access
    _collector: GarbageCollector

    async def show(self, request: Request) -> Reply:
        """The collection under way and the one before it."""
        await _check_administrator(self._access, request)
        return self._reply()

    async def collect(self, request: Request) -> Reply:
        """Begin a collection, or have one follow that under way: ``number`` is the one to wait for."""
        await _check_administrator(self._access, request)
        return self._reply(self._collector.ask())

    def _reply(self, number: int | None = None) -> Reply:
        collector = self._collector
        facts: dict[str, Json] = {"running": _facts(collector.running), "last": _facts(collector.last), "folders": FOLDERS}
        return result_reply("gc", facts if number is None else {**facts, "number": number}, 200 if number is None else 202)


@attrs.define(eq=False)
class EvictionHandler:
    """Answers ``/+evict``, for administrators."""

    _access: Access
    _evictor: Evictor

    async def show(self, request: Request) -> Reply:
        """The pass under way and the one before it."""
        await _check_administrator(self._access, request)
        return self._reply()

    async def evict(self, request: Request) -> Reply:
        """Begin a pass, unless one is under way: ``number`` is the one to wait for."""
        await _check_administrator(self._access, request)
        return self._reply(self._evictor.ask())

    def _reply(self, number: int | None = None) -> Reply:
        facts: dict[str, Json] = {"running": _facts(self._evictor.running), "last": _facts(self._evictor.last)}
        return result_reply("evict", facts if number is None else {**facts, "number": number}, 200 if number is None else 202)


@attrs.define(eq=False)
class CompactionHandler:
    """Answers ``/+compact``, for administrators."""

    _access: Access
    _compactor: Compactor

    async def compact(self, request: Request) -> Reply:
        """Make the changelog begin after the entry ``after``; ``sha256`` is that of the summary's lines."""
        await _check_administrator(self._access, request)
        match json_body(request):
            case {"after": int(serial), "sha256": str(sha256)} if serial > 0:
                size = await self._compactor.compact(serial, sha256)
                return result_reply("compaction", {"after": serial, "bytes": size})
        raise BadRequest("Bad request: after must be a serial, and sha256 the digest of the summary; run twistpi compact")


async def _check_administrator(access: Access, request: Request) -> None:
    access.check(Action.ADMINISTER, await access.principal(request), user=ROOT, subject="this server")


def _facts(report: Report | EvictionReport | None) -> Json:
    return None if report is None else attrs.asdict(report)


@attrs.define(eq=False)
class PromoteHandler:
    """Answers ``/+promote``, for administrators."""

    _access: Access
    _promotion: Promotion

    async def show(self, request: Request) -> Reply:
        """The promotion under way or the last one."""
        await _check_administrator(self._access, request)
        return result_reply("promotion", self._promotion.facts())

    async def promote(self, request: Request) -> Reply:
        """Begin a promotion; with ``{"force": true}`` without the entries that are outstanding.  ``show`` tells the outcome."""
        await _check_administrator(self._access, request)
        body = json_body(request)
        self._promotion.begin(force=isinstance(body, dict) and body.get("force") is True)
        return result_reply("promotion", self._promotion.facts(), 202)


ALIVE = b'{"status":"alive"}\n'
"""What a process answers that answers at all."""
_RETRY = (b"Retry-After", b"5")


@attrs.define(eq=False)
class HealthHandler:
    """Answers ``/+health`` and ``/+ready``."""

    _checking: Sequence[Checked]

    async def health(self, request: Request) -> Reply:
        """Always 200: the process answers."""
        return _reply(200, ALIVE)

    async def ready(self, request: Request) -> Reply:
        """See ``ready_reply``."""
        return ready_reply([check for checking in self._checking for check in checking()])


def ready_reply(checks: Sequence[Check]) -> Reply:
    """Return 200, or 503 if a needed check failed; with each check as JSON."""
    is_ready = all(check.fine for check in checks if check.needed)
    facts = {"ready": is_ready, "checks": [_check_facts(check) for check in checks]}
    body = orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return _reply(200 if is_ready else 503, body)


def _check_facts(check: Check) -> Json:
    return {
        "name": check.name,
        "result": "fine" if check.fine else "failed" if check.needed else "warning",
        "message": check.sentence,
    }


def _reply(status: int, body: bytes) -> Reply:
    headers = ((b"Content-Type", JSON), length_of(body), NO_STORE)
    return Reply(status, headers if status == 200 else (*headers, _RETRY), body)


@attrs.define(eq=False)
class MetricsHandler(Collector):
    """Answers ``/+metrics`` with everything that is measured in this process."""

    _access: Access
    _addresses: Addresses
    _open_to: Sequence[Network]
    """The networks from which the figures may be read, beside this machine."""
    _node: NodeFacts
    _software: str
    _traffic: Traffic
    _ready: ReadyAnswers
    _responder: Responder
    _measuring: Sequence[Measured]
    _registry: CollectorRegistry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def metrics(self, request: Request) -> Reply:
        """The figures, as text or in the OpenMetrics format, as ``Accept`` says."""
        if not self._is_near(request):
            principal = await self._access.principal(request)
            if principal.user != ROOT or principal.token is not None:
                raise PermissionDenied(
                    "the figures of this server are for its own machine, for root, and for the networks that the setting"
                    " metrics-from names"
                )
        encode, kind = choose_encoder(header(request, "accept") or "")
        body = encode(self._registry)
        headers = ((b"Content-Type", kind.encode("ascii")), length_of(body), NO_STORE, (b"Vary", b"Accept, Authorization"))
        return Reply(200, headers, body)

    def _is_near(self, request: Request) -> bool:
        if is_local(request):
            return True
        client = client_address(request, self._addresses)
        if client == UNIX:
            return False
        address = ip_address(client)
        return any(address.version == network.version and address in network for network in self._open_to)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
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
        for (use, label), number in sorted(self._traffic.tokens.items()):
            help = f"{use.capitalize()}s with API tokens, by the title of the token"
            yield Measure(f"twistpi_token_{use}s", "counter", help, number, (("token", label),))


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
    found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for measure in measures:
        family = found.get(measure.name)
        if family is None:
            made = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
            family = found[measure.name] = made(measure.name, measure.help, labels=[name for name, _value in measure.labels])
        family.add_metric([value for _name, value in measure.labels], measure.value)
    yield from found.values()
