"""What a running Linux shows of its memory, collected into files that another machine can read."""
