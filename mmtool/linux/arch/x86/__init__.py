"""x86-64 and i386, as in the kernel's arch/x86."""
