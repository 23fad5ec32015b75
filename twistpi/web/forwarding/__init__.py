"""Requests that another server answers: a replica's go to its primary, a worker's to the first process; ``forward`` begins.

What one server says to another of whom it asks for is in ``passed_on``, and whether that is believed in ``believing``.
"""
