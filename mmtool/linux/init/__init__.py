"""The order of things: start_kernel() as a list of named steps."""
