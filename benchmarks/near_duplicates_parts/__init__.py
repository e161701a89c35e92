"""The parts of benchmarks/near_duplicates.py."""
