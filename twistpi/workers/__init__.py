"""Worker processes: followers on the same machine that share the disk and the listening sockets of the first process."""
