"""What administrators do with a server directory beside serving it."""
