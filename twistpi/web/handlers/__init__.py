"""The handlers: one module for each part of the site.  A handler reads the view, or commits a change, and returns a reply."""
