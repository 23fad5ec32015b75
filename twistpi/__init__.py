"""twistpi: a Python package index server on Twisted.

A caching mirror of any simple-API index, kept on a durable, replayable changelog.  Read ``docs/architecture.rst`` for the
rooms of this house and which may know which.
"""

__version__ = "0.1.0"
