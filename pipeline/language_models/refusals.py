"""Recognizes replies in which a model says that it cannot answer."""

from __future__ import annotations

import re

_REFUSAL = re.compile(
    r"\b(as an ai|language model|i(?:'m| am) sorry|i (?:cannot|can't|can not|am unable to|do not know|don't know)|"
    r"(?:is|are|was) not (?:mentioned|stated|given|provided|specified) in)\b",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Return whether a model says in this text that it cannot answer."""
    return _REFUSAL.search(text) is not None
