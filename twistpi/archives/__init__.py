"""What is inside of distribution files: their core metadata, and whether they are what their names say.

Archives come from anybody.  They are read where they lie, never unpacked to disk, and whatever is wrong with one is an
``InvalidDistribution`` in bounded time and memory (``limits.py``).
"""
