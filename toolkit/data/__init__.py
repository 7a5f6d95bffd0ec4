"""Sources become documents, tokens, shards, and the batch of step s."""
