"""Passwords and tokens, and limits on guessing them.  Clock and randomness are arguments."""
