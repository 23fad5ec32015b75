"""Client connections: reading requests within time limits, sending bodies at the client's pace, and ending connections."""
