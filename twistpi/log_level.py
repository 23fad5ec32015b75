"""The setting log-level: what is less important is logged nowhere."""

from __future__ import annotations

from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, LogPublisher, globalLogPublisher


def drop_less_than(level: str, publisher: LogPublisher = globalLogPublisher) -> None:
    """From now on the observers of ``publisher`` see only events of at least ``level`` ("info", "warn" …).

    twistd has chosen the observers before a service starts, and offers no way to filter for them.
    """
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    for observer in list(publisher._observers):
        publisher.removeObserver(observer)
        publisher.addObserver(FilteringLogObserver(observer, [predicate]))
