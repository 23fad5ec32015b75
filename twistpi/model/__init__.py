"""Floor 0: the words.  Names, records, changes and errors; no clock, no file, no network."""
