"""The pipeline: manifest, survey, select, tokenize, pack, verify; Beam jobs over pure functions."""
