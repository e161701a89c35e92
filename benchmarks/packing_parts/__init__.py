"""The parts of `benchmarks/packing.py`."""
