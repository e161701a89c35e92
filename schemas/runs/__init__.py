"""What every training run shares: metrics log, TensorBoard log, progress display, clean interruption, disk errors.

`trainer` and `tokenizer` each have a training loop, and neither imports the other. Nothing in this package imports an
array library: what depends on JAX or Orbax is passed in, or stays in the loop.
"""
