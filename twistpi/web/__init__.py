"""Layer 4: HTTP for clients.

``routes`` maps paths to ``handlers``; ``replies`` and ``errors`` make responses; ``send`` moves bodies.  ``fast`` answers what is
ready before a request object exists, ``forwarding`` passes requests on to another server, ``replication`` has the endpoints for
other servers, ``transport`` and ``receiving`` are below all of these.  Importing this package
imports klein, and klein the reactor.
"""
