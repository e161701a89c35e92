"""Evaluation: the loss over all held-out sequences as one weighted mean, independent of the batch size.

The sums of the batches are added in float64 and divided once. An incomplete last batch is padded with rows of weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from schemas.vocab import TEXT, VISION
from trainer.data.loader import Batch
from trainer.model.loss import LossSums


def evaluate(step: Callable[[Any, Batch], LossSums], params: Any, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the losses over all batches, in nats per target: `loss`, `text_loss`, `vision_loss`."""
    return losses(total_sums(step, params, batches))


def total_sums(step: Callable[[Any, Batch], LossSums], params: Any, batches: Iterable[Batch]) -> NDArray[np.float64]:
    """Return the sums of w·ce and of w over all batches, [2,2] by (sum, modality), or [2,2,P] by position, too."""
    total = np.zeros((2, 2))
    for number, batch in enumerate(batches):
        sums: LossSums = jax.device_get(step(params, batch))
        added = np.stack([sums.ce_by_modality, sums.weight_by_modality]).astype(np.float64)
        total = total + added if number else added
    return total


def losses(sums: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Return mean losses from sums of w·ce and of w, [2, 2] by (sum, modality); NaN if there is no target."""
    ce, weight = sums.astype(np.float64)
    values = {"loss": (ce.sum(), weight.sum())}
    values |= {"text_loss": (ce[TEXT], weight[TEXT]), "vision_loss": (ce[VISION], weight[VISION])}
    # With Python floats, sums that overflowed give NaN, which the caller checks, without a warning.
    return {name: float(c) / float(w) if w > 0 else math.nan for name, (c, w) in values.items()}


def spread(total: int, wanted: int | None) -> NDArray[np.int64]:
    """Return the indices of `wanted` sequences spread evenly over `total`, all of them by default.

    The order of packed sequences is not random (other documents first, then books), so a prefix would be biased.
    """
    count = total if wanted is None else min(wanted, total)
    return np.linspace(0, total, count, endpoint=False, dtype=np.int64)
