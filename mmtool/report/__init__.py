"""What people and scripts read: typed rows and documents, rendered in every format."""
