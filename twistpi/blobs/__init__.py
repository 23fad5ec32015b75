"""Blobs: bytes named by their SHA-256.

``interfaces.py`` declares the interface, ``tree.py`` keeps blobs in the folder ``+files``, ``incoming.py`` has the files that may
become blobs and the system calls they depend on, ``received.py`` hashes uploads and adopts files from a folder of this disk.  A
blob is whole, synced and in its place before ``keep`` returns (law 2).  ``incoming/`` is emptied at start.
"""
