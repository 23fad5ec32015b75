"""Many machines as one server: what they share in PostgreSQL.

Every node of a cluster writes.  The changelog is in a table, and each node keeps a copy of it, and a view, in a folder that may
be lost at any time: ``postgres_changelog`` appends to the table and brings the copy up to date, ``local_copy`` makes the copy
anew where it is missing or wrong.  ``listener`` hears of entries that others appended, ``leases`` lets one node alone do what
need not be done twice.  ``database`` is the connection, ``schema`` what is in the database.

This needs psycopg, which the extra ``cluster`` brings, so nothing of this package is imported before a cluster was asked for.
"""
