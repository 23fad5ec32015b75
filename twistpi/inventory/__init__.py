"""What is on this server: where a project is and who needs it, and which of all that advisories are about.

The answers are put together from the view, the statistics and the advisories.  Blocking; for threads and commands.
"""
