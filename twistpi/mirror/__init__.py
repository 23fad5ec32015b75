"""Mirrors: pages, files, core metadata and name lists of upstreams, each fetched once however many requests wait for it."""
