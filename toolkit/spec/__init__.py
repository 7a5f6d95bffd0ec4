"""What a user may write: the sections of a spec, and the errors it can have."""
