"""drivers/firmware/efi: the tables that EFI leaves and what Linux keeps of them."""
