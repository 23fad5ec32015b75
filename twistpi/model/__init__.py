"""Names, records, changes and errors, which every other package uses; no clock, no file, no network."""
