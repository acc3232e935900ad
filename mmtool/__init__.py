"""What Linux does with a machine's memory, modelled away from the machine."""

__version__ = "0.1.0"
