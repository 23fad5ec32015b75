"""The changelog: everything that is true was once appended here.  This page is the specification of its format, number 1.

A line
======

The changelog is text, one entry to a line, for ``less``, ``grep`` and ``tail -f`` as for any JSON reader::

    SERIAL SP CHAIN SP JSON LF

``SERIAL`` counts 1, 2, 3 … in decimal, without gaps and without leading zeros.  ``CHAIN`` is 64 lower-case hexadecimal digits.
``JSON`` is an object in compact form with sorted keys, in UTF-8: ``at`` is the time (UTC, six digits of a second; never earlier
than that of the line before, even when the clock was set back), ``by`` the author, and ``changes`` what happened, each with its
``kind``; ``twistpi/model/changes.py`` lists the kinds.  A line holds neither a line feed nor a zero byte, since JSON escapes
both.

``CHAIN`` ties a line to all lines before it.  It is the SHA-256 of the 32 bytes that the previous line's ``CHAIN`` spells,
followed by the bytes ``SERIAL SP JSON`` of this line.  Before serial 1 stand 32 zero bytes.  So two logs whose newest lines have
the same ``CHAIN`` are the same in every byte, and a log that was changed anywhere does not fit from there on.

A log begins like this; only here the lines are broken, before the brace and after commas::

    1 d3d0ad3ca7f7dd2422d36d1dccf9c31265310209cc2ffed318baaf236beea7b7
      {"at":"2026-11-22T17:00:00.123456Z","by":"+init","changes":[
      {"kind":"LogStarted","log_id":"5f0c1a6e9b7d4c3e8a2f6d1b0e4c7a93"},{"kind":"UserCreated","user":"root"}]}
    2 5e7dbe2f335dc6ebd3eedb3278c3e997ff0fdde3ed956ffca6d5f4852695ac98
      {"at":"2026-11-22T17:00:01.654321Z","by":"+mirror","changes":[
      {"filename":"six-1.17.0.tar.gz","index":"root/pypi","kind":"FileCached","project":"six",
      "sha256":"ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81","size":34031}]}

The first change of serial 1 is always ``LogStarted``: its ``log_id`` tells this log from every other.

The files
=========

A segment is a file of whole lines, named by the serial of its first line in 20 digits: ``00000000000000000001.log``.  A segment
that has reached 64 MiB takes no further line, the next line begins the next segment.  That rule looks at nothing but the lines,
so a copy of a log consists of the same files.  A new segment is written under its name with ``.new`` behind it, synced, renamed,
and its folder synced: a ``.log`` file is never half-born.

The writer hands over many lines as one batch: one write and one sync for all of them.  No line of the batch is
acknowledged before that sync returned.  Where a batch goes across the end of a segment, the old segment is synced before
the new one gets its name, so a crash leaves a first part of the batch, never a gap.

A log that begins later
=======================

A replica may do without the older history, and any log may have a summary in its place.  Then its first segment is one that
begins after a line which it knows by its digest alone, and ``base.json`` beside the segments says which:
``{"chain": CHAIN, "serial": N}``.  The segment is named by N + 1, its first line is chained to ``CHAIN``, and all that is said
here of lines and files holds from there on.  A ``summary`` in ``base.json`` is the SHA-256 of the lines of one, from which the
view of what was before is built (``summary.py``); without one, the view that belongs to such a log came with it.

To compact a log, first the summary is written, synced, given its name, and its folder synced.  Then, on a primary, an entry
names it.  Then ``base.json`` is replaced as below, and then the older segments and summaries are removed.  What a crash left of
these is removed at start, where ``base.json`` names a summary.

Without a summary, segments named by smaller serials are not part of the log, whatever is in them: they are being brought.
When one is whole, and its lines lead to ``CHAIN``, it is synced, its folder too, and ``base.json`` is replaced (written as
``base.json.new``, synced, renamed, the folder synced) by one that speaks of the line before it, or, at serial 1, removed.

What a crash leaves
===================

Lines that were acknowledged are on disk as they were written.  Behind them there may be what an interrupted batch left: any first
part of it and, after a power loss, sectors of 512 bytes that were never written and read as zeros.  At start:

1. Files named ``.log.new`` are not looked at: nothing in them was ever acknowledged.
2. The lines are checked one after the other: serial, chain, shape.  A log of up to 16 MiB is checked from its first line, a
   larger one from the place its view is stamped with, which was synced before the stamp was written; ``twistpi check`` and the
   pass in the background check the whole.
3. When every line is right and nothing follows the last one, the log is sound.  Go to 7.
4. Otherwise look at the *tail*: everything from the first line that is not right.  It must lie in the last segment.
5. The tail is **torn**, which is: never acknowledged, when

   a. it is empty of text: zero bytes only; or
   b. it holds no line feed (zero bytes at its end put aside): the line was not written to its end.  Except when it is a right
      line but for its very last byte, which is not zero: then only its line feed was damaged; or
   c. its first line runs into a *hole* and no whole line follows the hole.  A hole is a run of zero bytes that begins with the
      tail or with a sector, and ends with a sector.  A whole line is one of the right shape that ends in a line feed.

6. A torn tail is cut off, the segment synced, and the server says so in its log.  Anything else is **damage**: a whole line
   with a wrong chain, bytes that are no line, a gap, a missing segment, an incomplete segment that is not the last, whole lines
   behind a hole (which of them were acknowledged cannot be told).  The server does not start, names serial, segment and offset,
   and has changed nothing.
7. The ``.log.new`` files are removed, and the last segment is opened to append.

Lines of an interrupted batch that arrived whole stay: an entry that was not acknowledged may be there after a crash, an
acknowledged one always is.  Two cases cannot be told from a torn tail, by any reader: a log from whose end something was cut by
hand, and a last line whose line feed became a zero byte; the view, which remembers how far the log once went, notices both.

When the disk is full, the batch is taken back (cut off, and that synced), its waiters are refused, and the next batch is
tried afresh.  When a sync fails, it is unknown what is on disk: the log takes no further line until the next start.
"""
