"""Full-text search over projects, uploaded documentation and the name lists of mirrors, in ``SERVERDIR/search.sqlite``.

The file is disposable and local to a server: the first process writes it (``indexer``), following the changelog, and every
process reads it (``service``).  Pages and handlers use ``service.SearchService`` alone, whose methods may be called in any
thread::

    page = search.search("http client", readable=lambda index: ..., page=1)
    for hit in page.hits:
        hit.name, hit.index, hit.version, hit.name_pieces, hit.summary_pieces, hit.excerpts
"""
