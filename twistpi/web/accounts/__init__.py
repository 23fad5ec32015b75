"""Who asks, and the doors for users and their tokens."""
