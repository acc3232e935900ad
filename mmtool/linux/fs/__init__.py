"""What lies under fs/ in the kernel's tree."""
