"""twistpi: a Python package index server on Twisted.

A caching mirror of any simple-API index, kept on a durable, replayable changelog.  Read ``docs/architecture.rst`` for the
layers of the code and what each may import.
"""

__version__ = "0.1.0"
