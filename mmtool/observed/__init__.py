"""What a running kernel reports about its memory: read to compare with, or to start from."""
