"""The server directory: what it is (``node``), who may use it (``directory``), how it begins, and what is opened in it.

``keeping`` opens all of it in the right order: the lock, the changelog, the view, the blobs.
"""
