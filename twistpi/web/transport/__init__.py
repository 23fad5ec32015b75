"""Connections, whatever is said over them: how many, how slow, how they are read and how they end."""
