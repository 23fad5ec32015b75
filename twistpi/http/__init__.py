"""The one HTTP client of twistpi, and the vocabulary of HTTP.

Make one ``HTTPClient`` for each kind of server and share it::

    agent = make_agent(reactor, os.environ, forbidden=networks)
    client = HTTPClient(agent, reactor, offload, reactor.callFromThread, timeout=5.0, silence=5.0)
    response = await client.request("GET", url, headers={"Range": "bytes=0-99"}, credentials=credentials)

Then use one of ``response.read`` (all of it in memory), ``write_to`` (batches in a thread, the sender held back), ``deliver``
(piece by piece; ``BodyReader`` notices silence, and can pause) and ``discard``.  All that goes wrong is a ``RequestFailed``.
Commands and threads use ``blocking.BlockingClient``.
"""
