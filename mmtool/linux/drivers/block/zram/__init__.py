"""drivers/block/zram: a block device of compressed memory."""
