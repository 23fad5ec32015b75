"""The view: what folding the changelog gives, kept in SQLite so that it can be asked.

``schema.sql`` says what is kept, ``fold.py`` how an entry changes it, ``database.py`` owns the file and its one writing
connection, ``read.py`` answers questions, ``page_cache.py`` keeps finished pages in memory.  Nothing here is the truth: a file
that is damaged, or was folded from another log or by another fold, is dropped and folded again (law 8).
"""
