"""The one HTTP client of twistpi, and the vocabulary of HTTP.

Make one ``HTTPClient`` for each kind of server and share it::

    agent = make_agent(reactor, os.environ, extra_ca_file=None, forbidden=networks)
    client = HTTPClient(agent, reactor, offload, reactor.callFromThread, timeout=5.0, silence=5.0)

    response = await client.request("GET", url, headers={"Range": "bytes=0-99"}, credentials=credentials)
    response.status, response.url, response.length, response.phrase, response.header("ETag"), response.headers

    await response.read(limit)              # all of it in memory
    await response.write_to(file.writelines, written)   # batches in a thread, the sender held back
    response.deliver(protocol)              # piece by piece; BodyReader notices silence, and can pause
    response.discard()                      # drop it; the connection is kept where that is cheap

- The body comes as the server has it (``Accept-Encoding: identity``).  With ``compressed=True`` gzip is asked for, and ``read``
  decompresses, in a thread when there is much; its limit is that of the unpacked size.
- ``body`` is bytes or an ``IBodyProducer``.  A request that may be repeated (GET, HEAD, OPTIONS, PUT, DELETE; no producer) is
  sent again when a kept connection turns out to be closed.
- Redirects of GET and HEAD are followed, unless ``follow=False``.  User and password in the URL, or else ``credentials``, are
  sent to their own origin only.
- Everything that goes wrong is a ``RequestFailed``: ``reason`` for people, ``cause`` (``Cause.CONNECT``, ``TIMEOUT``, ``CLOSED``,
  ``BROKEN``, ``SILENT``, ``TOO_LARGE``, ``MALFORMED`` …) for the program, ``unreachable`` when nobody answered.

Beside it: ``SingleFlight`` (one piece of work, many waiters), ``Backoff`` and ``Pause`` (growing delays), ``CircuitBreaker``,
``conditional`` and ``ranges`` (RFC 9110), ``headers`` (what is not passed on), ``urls`` (origins, credentials), ``networks``
(forbidden ones), ``blocking`` (a client for commands and threads).
"""
