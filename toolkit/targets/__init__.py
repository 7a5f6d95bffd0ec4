"""Supervised tasks to fine-tune for: one file each."""
