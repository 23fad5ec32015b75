"""Garbage collection: blobs that nothing names any more are removed, and no others.

A blob is removed when the view names it no more, nobody kept it for an hour, and nobody claims it.  Why nothing is ever lost:

*An entry that names the blob is being written.*  The last look, and the withdrawal, are in the writer's thread, where nothing
else is decided meanwhile.  There, two views are asked: the one of the batch, which shows what entries of this batch name that
are not written yet, and the one that everybody sees, because a removal earlier in the batch may still be rolled back.

*The blob is kept, but its entry is not asked for yet*: an upload on its way from ``blobs`` to the writer, a file that is
downloaded, metadata made of it, a test result, documentation.  Storage makes a blob young, also when its bytes were there
already, and ``blobs`` notes that under the lock under which it withdraws: that leaves an hour for what takes milliseconds.
Beside that a file from the network is open until its entry is there (of an upload, unless its client leaves at that very
moment), which is a claim: it holds even when the whole process was stopped for hours in between.

*A blob is going to be named without being kept*: a mirror lists the very file that another index had.  Its download claims
what it finds, and has it open until the entry is there.  A push names what its source names in the writer's view at that
moment.

*The log is another server's.*  A replica may have bytes before the lines that name them: it was given a copy of the files, or
fetched from an upstream while its primary was gone.  So it spares what its mirrors list, and removes nothing while it is not
known to have the whole log.

*Somebody reads the blob.*  Who has it open reads on.  Who knows its path, and opens it too late, finds no file, as after any
removal: the file was removed from the index before the blob went.

*The clock is wrong.*  An age is what both the clock on the wall and the one that never jumps agree to (``SlowClock``), so a
clock set forward makes nothing old.  One set backward makes everything young for a while.

*The process, or the machine, dies.*  The removal that took the blob's last name was durable before; the blob is in its place,
or in ``incoming/``, or gone, and the next collection or start does the rest.  What was on its way then is orphaned, which is
right: nobody was told that it was stored.

*Another process.*  A server directory belongs to one process at a time.  ``twistpi gc`` asks the server that has it, or takes
the lock of the directory.  A ``--dry-run`` only reads.

``garbage.py`` makes one pass over all blobs, ``collector.py`` runs passes in a server.  ``tests/gc`` runs uploads, downloads,
removals and collections against each other.
"""
