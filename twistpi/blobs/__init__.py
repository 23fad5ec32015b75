"""Blobs: bytes under the digits of their digest.

``address.py`` says how a blob is called, ``interfaces.py`` what can be done with blobs, ``tree.py`` does it on disk (every system
call that matters goes through ``system.py``), ``memory.py`` does it without one.  A blob is whole, synced and in its place before
``keep`` returns (law 2); what is on its way lies in ``incoming/``, which is emptied at start.
"""
