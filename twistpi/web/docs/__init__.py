"""The documentation of releases, straight out of the archives in which it was uploaded."""
