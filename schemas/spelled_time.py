"""A duration as messages and tables print it."""

from __future__ import annotations


def spelled_time(seconds: float) -> str:
    """Return a duration in seconds, minutes, hours or days."""
    for unit, length in (("s", 60.0), ("min", 60.0), ("h", 48.0)):
        if seconds < length * (1.5 if unit != "h" else 1):
            return f"{seconds:.3g} {unit}"
        seconds /= 60 if unit != "h" else 24
    return f"{seconds:,.3g} days"
