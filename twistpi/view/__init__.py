"""The view: the result of folding the changelog, kept in SQLite for queries.

``schema.sql`` defines the tables, ``fold*.py`` apply entries to them, ``database.py`` owns the file and its one writing
connection, ``read*.py`` answer queries, ``page_cache.py`` keeps rendered pages in memory.  The file is disposable: one that is
damaged, or was folded from another log or by another fold version, is dropped and folded again (law 8).
"""
