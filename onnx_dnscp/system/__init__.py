"""The operating system: files, locks, signals, memory, and words for people."""
