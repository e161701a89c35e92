"""Evaluation: the loss over all held-out sequences as one weighted mean, independent of the batch size.

The sums of the batches are added in float64 and divided once. An incomplete last batch is padded with rows of weight 0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from schemas.counted import counted
from schemas.runs.metrics import MetricsLog
from schemas.runs.progress import TrainingProgress
from schemas.vocab import TEXT, VISION
from trainer.data.loader import Batch, held_out_batches
from trainer.data.shards import PackedSplit
from trainer.model.loss import LossSums
from trainer.run.damage import SkippedSequences
from trainer.run.setup import Setup


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


class HeldOut:
    """Evaluates a run, and writes the losses to its log.

    `each_batch` is called before every batch; what it raises ends the evaluation.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        log: MetricsLog,
        progress: TrainingProgress,
        skipped: SkippedSequences,
        each_batch: Callable[[], None],
    ) -> None:
        self._setup, self._log, self._progress = setup, log, progress
        self._skipped, self._each_batch = skipped, each_batch

    def compile(self) -> None:
        """Compile the evaluation, if the run has held-out sequences."""
        if self._setup.held_out is not None:
            self._eval_step = self._setup.compile_eval()

    def evaluate_if_due(self, step: int, params: Any) -> None:
        """Evaluate `params` unless `step` has been evaluated, or none is due at it."""
        config, held_out = self._setup.config, self._setup.held_out
        due = held_out and (step % config.cadence.eval_every == 0 or step == config.steps)
        if not held_out or not due or self._log.find("eval", step):
            return
        started = time.perf_counter()
        chosen = spread(len(held_out), config.cadence.eval_sequences)
        values = evaluate(self._eval_step, params, self._batches(held_out, chosen))
        seconds = time.perf_counter() - started
        self._log.write("eval", step, values | {"sequences": len(chosen), "seconds": seconds})
        self._progress.log(
            f"step {step}: held-out loss {values['loss']:.4f} (text {values['text_loss']:.4f}, vision "
            f"{values['vision_loss']:.4f}) over {counted(len(chosen), 'sequence')} in {seconds:.1f} s"
        )

    def _batches(self, split: PackedSplit, chosen: NDArray[np.int64]) -> Iterator[Batch]:
        config, placement = self._setup.config, self._setup.held_out_placement
        loader = placement.loader(split, skip_damaged=config.damaged == "skip")
        batches = held_out_batches(loader, indices=chosen, batch_size=config.rows, read=loader.read_options)
        with closing(batches):
            for batch in batches:
                self._each_batch()
                self._skipped.update(loader)
                yield placement.place(batch)
