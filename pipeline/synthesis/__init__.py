"""Synthetic training data: documents that are made, not found, so that what they teach is known."""
