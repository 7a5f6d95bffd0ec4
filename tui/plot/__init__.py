"""Charts drawn in characters, from numbers to lines."""
