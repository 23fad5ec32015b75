"""Floor 3: everything that asks an upstream: pages, files, core metadata and name lists, each fetched once however many wait."""
