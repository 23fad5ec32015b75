"""Decisions: pure functions that return changes, or raise a ``TwistpiError`` when a request is refused."""
