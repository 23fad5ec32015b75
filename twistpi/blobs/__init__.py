"""Blobs: bytes named by their SHA-256.

``interfaces.py`` declares the two interfaces, ``tree.py`` keeps blobs in the folder ``+files``, ``incoming.py`` holds files on
their way there and the system calls this depends on, ``received.py`` hashes what clients send, ``search_path.py`` adopts files
that lie on this disk already.  A blob is whole, synced and in its place before ``keep`` returns (law 2).  ``incoming/`` is
emptied at start.
"""
