"""The bodies of requests, read while they come: forms with files, and test results."""
