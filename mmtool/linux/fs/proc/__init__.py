"""What /proc says of a process and of memory."""
