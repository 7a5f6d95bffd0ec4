"""One loop for every task, and what it stands on."""
