"""Trunks and heads: plain modules that know nothing of files or runs."""
