"""Suites whose questions are in files that the user has: LongBench, LOFT, MVBench and Video-MME."""
