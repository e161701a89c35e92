"""Captions of videos and images, written by a model that sees some of their frames."""
