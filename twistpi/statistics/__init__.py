"""What a server counts about itself: downloads, a history of its figures, and recent failures.

Everything is local and in ``statistics.sqlite``, which may be removed at any time: never in the changelog, never an entry.  No
addresses and no users are kept.
"""
