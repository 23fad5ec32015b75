"""The handlers: one module for each part of the site.

A handler reads the view, or commits a change, and returns a reply, or None if it sent the response itself.  What it raises
becomes a response in ``web.errors``.
"""
