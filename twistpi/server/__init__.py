"""Layer 5: builds and runs a server.  Begin with ``service.py``, which is what twistd runs.

``settings`` has every setting; ``directory``, ``node`` and ``storage`` open the server directory; ``roles`` builds what a primary
and a replica have; ``application`` joins it with the web; ``listening``, ``process`` and ``log_output`` are the process.
"""
