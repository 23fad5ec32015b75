"""Requests that another server answers: a replica's writes go to its primary, a worker's to the first process.

``Forwarder`` decides which requests these are and begins; a ``ForwardedRequest`` streams one request and its response.
"""
