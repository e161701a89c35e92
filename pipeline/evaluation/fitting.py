"""Makes a prompt as long as its budget allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from pipeline.evaluation.haystack import Budget
from schemas.errors import ConfigError

Made = TypeVar("Made")
_ATTEMPTS = 40
_SLACK = 0.98  # of the budget; a closer fit is not looked for


def fit(make: Callable[[int], Made], text_of: Callable[[Made], str], budget: Budget, *, first: int) -> Made:
    """Return `make(size)` for about the largest size whose text has at most the budget's tokens.

    The text has to grow with the size. `first` is the size to begin with. Raises ConfigError if no size fits.
    """
    most, size, best = budget.prompt_tokens, max(1, first), None
    low, high = 0, math.inf  # `low` fits, `high` does not
    for _ in range(_ATTEMPTS):
        made = make(size)
        count = budget.count(text_of(made))
        if count <= most:
            low, best = size, made
            if count >= _SLACK * most:
                break
        else:
            high = size
        if high - low <= 1:
            break
        guess = math.floor(size * most / count)
        size = int(min(max(guess, low + 1), high - 1 if high < math.inf else max(guess, low + 1)))
    if best is None:
        raise ConfigError(f"a length of {budget.length} is too short for this task: its smallest prompt does not fit")
    return best
