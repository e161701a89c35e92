"""Readers of weight files. Each returns tensors by name; shapes and dtypes are known before values are read."""
