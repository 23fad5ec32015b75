"""Floor 4: the doors.  Requests become reads of the view or asks of the mirror; values and errors become HTTP here alone.

``app`` wires the doors (``simple``, ``files``, ``front``), ``replies`` and ``failures`` make the answers, ``send`` moves bodies,
``fast`` answers what is ready before a request object exists.  Its own rooms each hold one idea; ``transport``, ``receiving`` and
``forwarding`` are below the doors, the others are doors.  Importing this room imports klein, and klein the reactor.
"""
