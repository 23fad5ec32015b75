"""The side of a follower: how a replica learns what its primary knows, and keeps what it has."""
