"""The simple repository API, pure: negotiation, an upstream's pages -> links, links -> pages."""
