"""``twistpi check-index``: does an index do what the simple repository API and the installers in use ask of it?

``interview`` asks a few dozen small questions and keeps what came in a ``recording``; the other modules judge the recording,
without asking anything more, one function for each requirement.  The numbers are those of ``tests/README.rst``.  What shows only
from inside, or in time (what becomes of an upload, of an upstream that fails), is not judged.
"""
