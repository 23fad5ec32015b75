"""In from other servers, and out again: ``twistpi import`` and ``twistpi export``.

A *source* (an export of devpi-server, a simple index) yields records (``records.py``), which ``importer.py`` turns into entries
of the changelog through a *target* (``target.py``).  ``devpi_records.py`` reads the records in the JSON of an export,
``dump_file.py`` finds them there one by one; ``dump_writer.py`` writes an export.  Everything blocks.
"""
