"""The slab allocators on a machine: its caches, what a script of calls does, the pages behind them."""
