"""The `tk` command: thin, one file a group of commands."""
