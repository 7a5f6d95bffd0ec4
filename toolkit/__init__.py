"""tk: pretrain once, fine-tune many times, and measure what the pretraining bought."""
