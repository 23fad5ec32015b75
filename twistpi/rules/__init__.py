"""Decisions: pure functions that return changes, or raise when a request is refused."""
