"""The runs folder: layout, events, metrics, checkpoints, leases and requests."""
