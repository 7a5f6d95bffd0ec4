"""A spec and a machine become a frozen plan: sizes, FLOPs, memory, time."""
