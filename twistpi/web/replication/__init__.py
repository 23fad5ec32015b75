"""Server-to-server endpoints: the changelog feed, snapshots, blobs, and what replicas ask of the upstreams of their primary."""
