"""What a pretraining is worth to a fine-tune, measured: the same target from the trunk and from scratch."""
