"""Advisories: what is known against versions of projects, from feeds of the OSV format.

What a feed says is brought into one *advisory set*: a gzip file of sorted JSON lines, the same bytes for the same content.  A set
that was accepted is a blob which the changelog names, so replicas, restored servers and copies behind an air gap have the same.
From the set each server makes ``SERVERDIR/advisories.sqlite``, which is disposable; look-ups go there.
"""
