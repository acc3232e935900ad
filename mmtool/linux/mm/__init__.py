"""The architecture-independent half of the model, file for file as in the kernel's mm/."""
