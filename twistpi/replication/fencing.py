"""Whether this server may take writes: what it says of its epoch, and what it does when another server has a later one.

A fence goes up in this order: commits are denied, those under way are finished, the fence is written into ``node.json``, and only
then the server that was promoted is answered.  So what it is told to be the last entry here stays the last one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import orjson
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.writer import Writer
from twistpi.http.offload import Offload
from twistpi.model.monitoring import Measure
from twistpi.model.peers import Epoch, FenceNote, Fork, Peer, Position
from twistpi.model.records import Json
from twistpi.model.server_errors import NotFenced, UnknownSerial, WriterStopped
from twistpi.replication.primary import Primary
from twistpi.rules.replication import PRIMARY, Fence, decide_fence, fence_by_peer, is_stale

ASKING = 2.0
"""Seconds for which a start waits for the followers it knows."""

_FENCED = (
    "This server takes no writes, since {successor} was promoted and began epoch {epoch}. {beyond} twistpi resync makes a replica"
    " of it."
)
_FOLLOWERS = "followers.json"
_MOST_FOLLOWERS = 100
"""Followers that are remembered; the one that came longest ago is forgotten first."""
_log = Logger()


@attrs.frozen
class ServerFacts:
    """What this server tells others of itself."""

    node_id: str
    log_id: str
    role: str
    url: str | None = None
    """Where others reach it."""
    primary_url: str | None = None
    """Whom it follows."""


@attrs.define(eq=False)
class Fencing:
    """Whether this server may take writes; ``fence`` says why not."""

    facts: ServerFacts
    _changelog: FileChangelog
    _writer: Writer
    _epochs: Callable[[], Sequence[tuple[int, str, int]]]
    """Returns epoch, node id and first serial of each epoch in the view, but for the first one."""
    _clock: IReactorTime
    _offload: Offload
    _persist: Callable[[Fence], object]
    """Writes the fence down, durably; called in a thread."""
    _on_fence: Callable[[Fence], object]
    """Called in the reactor when a fence went up."""
    fence: Fence | None = None
    _hold: IDelayedCall | None = attrs.field(default=None, init=False)

    @property
    def serial(self) -> int:
        """The serial of the newest entry here."""
        return self._changelog.last.serial

    @property
    def epoch(self) -> int:
        """The newest epoch that is known here."""
        epochs = self._epochs()
        return epochs[-1][0] if epochs else 1

    async def peer(self) -> Peer:
        """Return what this server tells another one of itself."""
        last, facts, epochs = self._changelog.last, self.facts, self._epochs()
        epoch_start = Epoch()
        if epochs:
            epoch, node_id, serial = epochs[-1]
            epoch_start = Epoch(epoch, node_id, Fork(serial - 1, await self._chain_at(serial - 1) or Fork().chain))
        return Peer(
            facts.node_id,
            facts.log_id,
            facts.role,
            last.serial,
            last.chain,
            epoch_start,
            fenced=self.fence is not None,
            url=facts.url,
            primary_url=facts.primary_url if self.fence is None else self.fence.url,
        )

    async def note(self, note: FenceNote) -> Peer:
        """React to a server that was promoted, or is about to be.  Return what this server is then.  Raise ``NotFenced``."""
        own = await self.peer()
        if note.log_id != own.log_id:
            raise NotFenced("the log here is another one")
        if own.role != PRIMARY:
            return own
        if not is_stale(own, note.epoch_start):
            raise NotFenced(f"the epoch here is {own.epoch_start.epoch}, and the one that was told is {note.epoch_start.epoch}")
        if note.hold:
            await self._hold_for(note.hold)
            return await self.peer()
        chain = await self._chain_at(note.epoch_start.fork.serial)
        fence = decide_fence(own, note, chain, self.fence)
        if fence is not None:
            await self._put_up(fence)
        return await self.peer()

    def epoch_seen(self, epoch: int) -> None:
        """React to a follower that knows of ``epoch``."""
        if self.facts.role == PRIMARY and self.fence is None and epoch > self.epoch:
            putting_up: Deferred[None] = Deferred.fromCoroutine(self._put_up(Fence(epoch, last=self.serial)))
            putting_up.addErrback(lambda failure: _log.failure("The fence could not be written down", failure=failure))

    async def ask(self, others: Iterable[Primary]) -> None:
        """Ask ``others``, all at once and for ``ASKING`` seconds at most, whether one of them was promoted, and react to it."""
        asking = [Deferred.fromCoroutine(other.peer(ASKING)) for other in others]
        for succeeded, answer in await DeferredList(asking, consumeErrors=True):
            if succeeded and self.fence is None and isinstance(answer, Peer):
                await self.learn(answer)

    async def start(self, others: Sequence[Primary]) -> None:
        """Before the first write, put up the fence of an earlier run, or ask ``others`` while writes wait."""
        if self.facts.role != PRIMARY:
            return
        if self.fence is not None:
            await self._writer.deny(self.fence.error())
            _log.warn(_FENCED, successor=self.fence.successor, epoch=self.fence.epoch, beyond=self.fence.beyond)
        elif others:
            await self._writer.hold()
            await self.ask(others)
            if self.fence is None and self._hold is None:  # else it is held for a server that is about to be promoted
                self._writer.release()

    def stop(self) -> None:
        """Cancel the end of a hold."""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def measures(self) -> Iterable[Measure]:
        """Return the figures for ``/+metrics``."""
        yield Measure("twistpi_epoch", "gauge", "How often the log got another primary, and one", self.epoch)
        fenced = float(self.fence is not None)
        yield Measure("twistpi_fenced", "gauge", "1 when writes are refused because another server was promoted", fenced)

    async def learn(self, other: Peer) -> None:
        """React to what another server says of itself."""
        own = await self.peer()
        fence = fence_by_peer(own, other, await self._chain_at(other.epoch_start.fork.serial))
        if fence is not None:
            await self._put_up(fence)

    async def _put_up(self, fence: Fence) -> None:
        first, self.fence = self.fence is None, fence
        with contextlib.suppress(WriterStopped):
            await self._writer.deny(fence.error())
        self.fence = fence = attrs.evolve(fence, last=self._changelog.last.serial)
        with contextlib.suppress(WriterStopped):
            await self._writer.deny(fence.error())
        self.stop()
        await self._offload(self._persist, fence)
        if first:
            _log.critical(_FENCED, successor=fence.successor, epoch=fence.epoch, beyond=fence.beyond)
            self._on_fence(fence)

    async def _hold_for(self, seconds: float) -> None:
        self.stop()
        self._hold = self._clock.callLater(seconds, self._release)  # now: another hold may come while this one is awaited
        await self._writer.hold()

    def _release(self) -> None:
        self._hold = None
        _log.warn("The server that was to be promoted did not say that it was; writes go on here.")
        self._writer.release()

    async def _chain_at(self, serial: int) -> str | None:
        """Return the chain of a line here; None when there is no such line."""
        if serial == self._changelog.last.serial:
            return self._changelog.last.chain
        try:
            position: Position = await self._offload(self._changelog.position, serial)
        except UnknownSerial:
            return None
        return position.chain


@attrs.define(eq=False)
class KnownFollowers:
    """The servers that follow this one, as ``followers.json`` has them."""

    _path: str
    _urls: dict[str, str]
    """By node id; the one that came last is last."""

    @classmethod
    def open(cls, serverdir: str) -> KnownFollowers:
        """Return what is known in ``serverdir``: nothing when the file is missing or cannot be understood."""
        path = os.path.join(serverdir, _FOLLOWERS)
        try:
            with open(path, "rb") as file:
                fields: Json = orjson.loads(file.read())
        except (OSError, orjson.JSONDecodeError):
            fields = {}
        known = fields.items() if isinstance(fields, dict) else ()
        return cls(path, {node: url for node, url in known if isinstance(url, str)})

    @property
    def urls(self) -> Mapping[str, str]:
        """URLs by node id."""
        return dict(self._urls)

    def came(self, node_id: str, url: str | None) -> None:
        """Note that a follower asked for the log, and the URL that it says it answers at, if any."""
        if url is None or self._urls.get(node_id) == url:
            return
        self._urls.pop(node_id, None)
        self._urls[node_id] = url
        while len(self._urls) > _MOST_FOLLOWERS:
            del self._urls[next(iter(self._urls))]
        try:
            with open(f"{self._path}.new", "wb") as file:
                file.write(orjson.dumps(self._urls, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            os.replace(f"{self._path}.new", self._path)
        except OSError as error:
            _log.warn("The follower at {url} will not be remembered: {reason}", url=url, reason=str(error))
