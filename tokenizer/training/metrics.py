"""Metrics of tokenizer training, averaged over the steps between two rows of the log.

    {"kind": "train", "step": 50, "loss": 0.31, "psnr": 18.2, "codebook_utilization": 0.93, "perplexity": 641.0, …}

A row holds the mean of each metric over the steps since the previous row. Codebook utilization and perplexity are those
of all codes of these steps together. After a resume the first window starts at the snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokenizer.quantizers.base import perplexity

CODE_COUNTS = "code_counts"  # the metric that is a histogram `[K]` instead of a scalar


class MetricsWindow:
    """Collects the metrics of steps until they are averaged."""

    def __init__(self) -> None:
        self._steps: list[Mapping[str, Any]] = []
        self._started = time.monotonic()

    def add(self, metrics: Mapping[str, jax.Array]) -> None:
        """Copy the metrics of one step to the host: scalars, and CODE_COUNTS."""
        self._steps.append(jax.device_get(metrics))

    def average(self, *, batch: int) -> dict[str, float]:
        """Return the averages over the steps added so far, at least one, and start the next window.

        `batch` is the number of crops per step, for `frames_per_s`.
        """
        now = time.monotonic()
        names = sorted({name for step in self._steps for name in step} - {CODE_COUNTS})
        row = {name: float(np.mean([step[name] for step in self._steps if name in step])) for name in names}
        counts = np.sum([step[CODE_COUNTS] for step in self._steps], axis=0)
        row |= {
            "codebook_utilization": float((counts > 0).mean()),
            "perplexity": float(perplexity(jnp.asarray(counts))),
            "frames_per_s": len(self._steps) * batch / max(now - self._started, 1e-9),
        }
        self._steps, self._started = [], now
        return row
