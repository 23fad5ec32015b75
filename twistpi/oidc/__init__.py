"""Identities from elsewhere: tokens of OpenID Connect issuers, which build services give to their jobs."""
