"""Tells twistd about ``twistd twistpi``."""

from twisted.application.service import ServiceMaker

twistpi = ServiceMaker(
    "twistpi", "twistpi.server.options", "A Python package index: a caching mirror on a durable changelog.", "twistpi"
)
