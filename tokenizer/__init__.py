"""Text to ids (SentencePiece) and frames to codes (VQGAN in Flax NNX): models, training, evaluation, checkpoints."""
