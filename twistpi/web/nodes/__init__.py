"""The doors that only other servers of the house may take: the changelog, snapshots, blobs, questions to upstreams, epochs."""
