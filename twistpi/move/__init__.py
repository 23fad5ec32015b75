"""Moving a server directory into a cluster, and back.

Both ways are taken in two or more runs of ``twistpi move``.  While the server or the nodes run, a run copies all there is.  When
none runs any more, it copies what is new since, which takes seconds, and is the last one.  Files come before the lines that name
them (law 2).

``into_cluster.py`` and ``out_of_cluster.py`` are the two ways.  ``bucket_files.py`` copies files to a bucket and from it, and
``files_note.py`` is what is remembered of them between two runs.  What is in the database meanwhile: ``cluster/moves.py``.
A directory that is being made has ``move.json`` and no ``node.json``; one whose log was moved away says so in ``node.json``.
"""
