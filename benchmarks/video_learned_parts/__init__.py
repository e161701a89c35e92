"""The parts of benchmarks/video_learned.py."""
