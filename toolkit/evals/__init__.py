"""What a finished trunk can do: text, scores, probes."""
