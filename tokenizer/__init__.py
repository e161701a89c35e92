"""Text to ids (SentencePiece, tokenizer.json) and frames to codes (VQGAN in Flax NNX): models, training, evaluation, checkpoints."""
