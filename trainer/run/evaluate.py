"""Evaluation: the loss over all held-out sequences as one weighted mean, whatever the batches are.

Sums of batches are added in float64; the mean is taken once. A last batch that is not full has rows of padding, which
weigh nothing.
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
    """Return the losses over all batches, in nats a target: `loss`, `text_loss`, `vision_loss`."""
    total = np.zeros((2, 2))
    for batch in batches:
        sums: LossSums = jax.device_get(step(params, batch))
        total += np.stack([sums.ce_by_modality, sums.weight_by_modality]).astype(np.float64)
    return losses(total)


def losses(sums: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Return mean losses from sums of w·ce and of w, [2, 2] by (sum, modality); NaN where there is no target."""
    ce, weight = sums.astype(np.float64)
    values = {"loss": (ce.sum(), weight.sum())}
    values |= {"text_loss": (ce[TEXT], weight[TEXT]), "vision_loss": (ce[VISION], weight[VISION])}
    # Python's floats: sums that have overflown make a NaN, which the caller looks for, and no warning.
    return {name: float(c) / float(w) if w > 0 else math.nan for name, (c, w) in values.items()}


def spread(total: int, wanted: int | None) -> NDArray[np.int64]:
    """Return the indices of `wanted` sequences spread evenly over `total`, all of them by default.

    Packed sequences stand in an order (documents first, then books), so the first few would not stand for all.
    """
    count = total if wanted is None else min(wanted, total)
    return np.linspace(0, total, count, endpoint=False, dtype=np.int64)
