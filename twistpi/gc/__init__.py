"""Garbage collection: blobs that nothing names any more are removed, and no others.

A blob is removed when the view does not name it, it was not stored within the last hour, and nothing claims it.  Why no blob is
lost:

*An entry that names the blob is being written.*  The last check and the withdrawal happen in the writer's thread, where nothing
else is decided meanwhile.  Two views are asked there: that of the batch, which has the entries of this batch that are not
written yet, and the published one, because a removal earlier in the batch may still be rolled back.

*The blob is stored, but its entry has not reached the writer yet*: an upload, a download, metadata extracted from it, a test
result, documentation.  Storing makes a blob young, also when its bytes were there already, and ``blobs`` does so under the lock
under which it withdraws: that leaves an hour for what takes milliseconds.  Besides, a file from the network is open until its
entry is written (of an upload, unless its client leaves at that moment).  An open file is a claim, which holds even when the
process was stopped for hours in between.

*A blob is about to be named without being stored*: a mirror lists the file that another index had.  Its download claims what it
finds, and has it open until the entry is written.  A push names what its source names in the writer's view at that moment.

*The server is a replica.*  It may have bytes before the lines that name them: it was given a copy of the files, or fetched from
an upstream while its primary was gone.  So it spares what its mirrors list, and removes nothing unless it is known to have the
whole log.

*The blob is being read.*  An open file can be read on.  A request that has its path, but opens it too late, finds no file, as
after any removal: the file was removed from the index before the blob was.

*The clock is wrong.*  The age of a blob is measured by the slower one of the wall clock and the monotonic clock
(``SlowClock``), so a clock set forward makes nothing old.  One set back makes everything young for a while.

*The process or the machine dies.*  The entry that removed the blob's last name was durable before.  The blob is in its place,
in ``incoming/``, or gone; the next pass or start does the rest.  What was on its way is orphaned, which is right: no client was
told that it was stored.

*Another process.*  A server directory belongs to one process at a time.  ``twistpi gc`` asks the server that has it, or takes
the lock of the directory.  A ``--dry-run`` only reads.

``garbage.py`` makes one pass over all blobs, ``collector.py`` runs passes in a server.  ``tests/gc`` runs uploads, downloads,
removals and collections against each other.
"""
