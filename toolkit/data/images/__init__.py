"""Images and recordings: read, decoded once into arrays of bytes, and given out in batches."""
