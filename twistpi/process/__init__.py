"""What a server process has of its machine: ports and certificates, signals, log files, memory, a word to systemd."""
