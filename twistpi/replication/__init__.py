"""Followers: how a replica gets the log and the files of its primary, and how it becomes the primary."""
