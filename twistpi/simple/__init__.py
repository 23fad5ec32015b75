"""The simple repository API: negotiation, parsing of an upstream's pages, and rendering of ours.  Pure."""
