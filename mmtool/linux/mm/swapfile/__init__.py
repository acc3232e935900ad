"""mm/swapfile.c: swap areas, and which page of them a page gets."""
