"""Pushing releases to other servers, through the upload endpoint that every package index has."""
