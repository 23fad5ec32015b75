"""Who somebody is: passwords, tokens, and what is remembered of both.  Time and chance are arguments."""
