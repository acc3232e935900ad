"""The architecture's half of the model, file for file as in the kernel's arch/."""
