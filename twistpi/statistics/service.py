"""All statistics of a server, from its start to its stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import globalLogPublisher

from twistpi.http.offload import Offload
from twistpi.model.monitoring import Measure
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.failures import RecentFailures
from twistpi.statistics.history import History, Reading
from twistpi.statistics.recorder import Delivery, Recorder
from twistpi.statistics.tally import Tally


@attrs.define(eq=False)
class Statistics:
    """Counts and keeps what a server does."""

    downloads: Downloads
    file: StatisticsFile
    recorder: Recorder | None
    """None where downloads are not counted."""
    _clock: IReactorTime
    _offload: Offload
    failures: RecentFailures = attrs.field(factory=RecentFailures, init=False)
    history: History | None = attrs.field(default=None, init=False)
    """Set by ``keep_history``."""

    @classmethod
    def build(
        cls,
        path: str,
        clock: IReactorTime,
        offload: Offload,
        now: Callable[[], datetime],
        *,
        is_counting: bool,
        days: int,
        delivery: Delivery | None,
    ) -> Statistics:
        """Return those in the file ``path``.

        ``days`` are how many are kept one by one; ``delivery`` sends what is counted to the primary of a replica.
        """
        file = StatisticsFile(path)
        if not is_counting:
            return cls(Downloads(file, now), file, None, clock, offload)
        tally = Tally()
        recorder = Recorder(file, tally, clock, offload, now, days, delivery)
        return cls(Downloads(file, now, tally), file, recorder, clock, offload)

    def keep_history(self, read: Callable[[], Reading], measure: Callable[[], Mapping[str, float]]) -> History:
        """Return a history of figures; see ``History``."""
        self.history = History(self.file, self._clock, self._offload, read, measure)
        return self.history

    def start(self) -> None:
        """Begin to write."""
        globalLogPublisher.addObserver(self.failures)
        if self.recorder is not None:
            self.recorder.start()
        if self.history is not None:
            self.history.start()

    async def stop(self) -> None:
        """Write what is left."""
        if self.recorder is not None:
            await self.recorder.stop()
        if self.history is not None:
            await self.history.stop()
        globalLogPublisher.removeObserver(self.failures)

    def measures(self) -> Iterable[Measure]:
        """See ``Measured``."""
        return () if self.recorder is None else self.recorder.measures()
