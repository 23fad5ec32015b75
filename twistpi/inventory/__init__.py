"""What is on this server: where a project is, which releases require it, and what advisories are about.

The answers are made from the view, the statistics and the advisories.  Blocking; for threads and commands.
"""
