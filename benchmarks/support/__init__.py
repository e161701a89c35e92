"""Generated inputs that several benchmarks share."""
