"""Inspection of distribution files: their core metadata, and whether they are what their names say.

Archives are hostile until proven otherwise.  They are read in place and never unpacked to disk; whatever is wrong with one
raises ``InvalidDistribution`` in bounded time and memory (``source.Limits``).
"""
