"""Linux's memory management as a model, path for path and function for function as in the kernel's tree."""
