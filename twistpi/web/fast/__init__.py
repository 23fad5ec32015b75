"""The fast path: responses that are ready are sent before a request object exists."""
