"""The doors for who runs the server: how it is, its figures, its garbage, its promotion."""
