"""Text to ids, and frames to codes (VQGAN in Flax NNX): models, training, evaluation, checkpoints."""
