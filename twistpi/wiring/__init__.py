"""Where the rooms are joined into a server: begin with ``service.py``.

``service`` is what twistd runs: ports, signals, start and stop.  ``house`` has the server directory and what serves it, and
builds that anew when the server's role changes.  ``serving`` joins what answers requests, ``roles`` the parts in which a primary
and a replica differ.  The other modules are a joint each.
"""
