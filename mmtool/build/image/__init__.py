"""What a kernel's own image tells of its build: sections, symbols and the sizes of its structures."""
