"""fs/ext4: what a file system's own pages do to the lists while files are written."""
