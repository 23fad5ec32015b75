"""Backups of a server directory, and what they restore.

A backup is a tree, in a folder, on another machine or in a bucket::

    BACKUP/
      changelog/00000000000000000001.log …      the segments of the log, as they are, and summaries of what was before them
      +files/ab1/2cd34ef567890/NAME             the blobs, as they are
      manifests/20261130T061317Z-00000000000000001041.json
      secret                                    only if it was asked for

A *manifest* is written at the end of each run.  It names a line of the log by serial and chain; the log up to there says which
blobs belong to it, so manifests don't list them.  What lies behind the line of the newest manifest in its segment is not part of
the backup: an interrupted run left it, and the next one writes over it.

A manifest also names where its log begins, if the server was compacted: with a summary, whose SHA-256 it has.  Logs of manifests
that begin with different summaries lie side by side in the folder ``changelog``.

Law 2 holds here, too: blobs are in their place before the lines that name them, and both before the manifest.

``manifest.py`` has the manifests and how long they are kept; ``store.py`` the interface of the places for backups, and the one in
a folder; ``rsync.py`` the one on another machine; ``bucket.py`` the one in a bucket;
``history.py`` finds out what of a log a backup has; ``writer.py`` makes a backup, with ``named_files.py``, which copies the
files, and ``log_copy.py``, which copies the log; ``verify.py`` reads one back; ``prune.py`` drops what is too old;
``target.py`` finds what is to be restored, and ``restore.py`` makes a server directory of it.
"""
