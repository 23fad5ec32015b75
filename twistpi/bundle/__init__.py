"""Bundles: what a server that cannot reach its primary lacks, as one signed file.

A bundle is a tar archive without compression::

    blobs/DIGITS/SHA256/NAME        the blobs, as they are
    lines/00000000000000001042      whole lines of the changelog, from that serial on; about a MiB in each
    bundle.json                     which log, from which line to which, and the signature; always the last 2,560 bytes

``bundle.json`` holds the SHA-256 of all that is before it, and is signed with the secret that the servers share.  So a bundle is
verified before anything in it is looked at.  Law 2 holds: blobs come before the lines that name them.

``format.py`` writes and reads such files; ``state.py`` has the file in which an offline server says what it has;
``writer.py`` makes a bundle of a server directory; ``apply.py`` brings one into another.
"""
