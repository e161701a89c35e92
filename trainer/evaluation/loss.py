"""The loss of a trained model on packed datasets, without training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import optax
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.runs.count_progress import CountProgress
from schemas.runs.messages import messages
from schemas.storage.option import Address
from trainer.config import MeshConfig, Weights
from trainer.data.layout import Layout
from trainer.data.loader import Placement, held_out_batches
from trainer.data.shards import PackedSplit
from trainer.mesh import make_mesh
from trainer.model.loss import position_ranges
from trainer.run.checkpoint import open_run
from trainer.run.copies.fetched import local_run
from trainer.run.evaluate import losses, spread, total_sums
from trainer.run.state import Plan
from trainer.run.step import compile_eval

_T = TypeVar("_T")
_LARGEST = 700.0  # nats; the exponential of more is infinite in float64


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Measure the loss of a run's checkpoint on packed datasets, in nats per target."""

    model: Address
    """Output folder of `longreel train` or `longreel import-model`, or its address in a bucket."""
    dataset: tuple[Address, ...]
    """Packed dataset directories, of the model's vocabulary: paths, or addresses in S3 or Google Cloud Storage."""
    split: str = "val"
    """Which sequences: val or train."""
    sequences: int | None = None
    """Maximum number of sequences, spread evenly over the split. Default: all."""
    checkpoint_step: int | None = None
    """Step of the checkpoint. Default: the newest."""
    weights: Weights = "params"
    """The trained parameters (params), or their moving average (ema) of a run with --optimizer.ema-decay."""
    batch_size: int = 1
    """Sequences at a time, over all devices."""
    layout: Layout = "block_cyclic"
    """How the tokens of a sequence are distributed over the mesh axis `sequence`."""
    devices: int | None = None
    """Number of virtual CPU devices to use. Default: the devices that JAX finds."""

    def __post_init__(self) -> None:
        for name in ("sequences", "batch_size", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")


def measure_loss(config: LossConfig, mesh_config: MeshConfig) -> dict[str, Any]:
    """Return the step of the checkpoint, the number of sequences, and the losses by modality; NaN without targets.

    `by_position` has the losses by ranges of the position of a token within its document, with the weight of their
    targets. Perplexities are the exponentials of the losses.
    Raises ConfigError, DatasetError or VocabularyMismatch.
    """
    mesh = make_mesh(mesh_config)
    split = PackedSplit(config.dataset, config.split)
    with open_run(local_run(config.model, step=config.checkpoint_step)) as checkpoints:
        step = checkpoints.newest() if config.checkpoint_step is None else config.checkpoint_step
        checkpoints.require(step)
        about = checkpoints.describe(step)
        about.require_vocabulary(split.vocabulary, where=checkpoints.path / str(step))
        about.model.require_mesh(mesh.shape)
        if split.context_length > about.model.max_positions:
            raise ConfigError(
                f"the dataset's context of {split.context_length} tokens is longer than the model's max_positions "
                f"{about.model.max_positions}: measure on a dataset of shorter sequences"
            )
        plan = Plan.of(about.model, about.vocabulary, optimizer=optax.identity(), mesh=mesh)
        shape = (config.batch_size, split.context_length)
        placement = Placement.of(mesh, shape, layout=config.layout, tile=about.model.tile)
        params = checkpoints.restore_params(step, plan.like.params, weights=config.weights)
    chosen = spread(len(split), config.sequences)
    batches = held_out_batches(placement.loader(split), indices=chosen, batch_size=config.batch_size)
    with closing(batches):
        messages.info("eval loss: compiling; on a CPU this takes up to a minute", event="compiling")
        step_of = compile_eval(plan, shape=shape, by_position=True)
        total = total_sums(step_of, params, _shown(map(placement.place, batches), config.batch_size, len(chosen)))
    whole = {"step": step, "sequences": len(chosen), **_measures(total.sum(-1))}
    return whole | {"by_position": list(_by_position(total, split.context_length))}


def _shown(batches: Iterable[_T], size: int, sequences: int) -> Iterator[_T]:
    """Yield batches of `size` sequences, and show how many of all sequences are measured."""
    progress = CountProgress("eval loss", sequences, "sequences")
    for number, batch in enumerate(batches):
        yield batch
        progress.show(min(sequences, (number + 1) * size))
    progress.close(sequences)


def _by_position(total: NDArray[np.float64], length: int) -> Iterator[dict[str, float]]:
    """Yield the measures of the ranges of positions in which there is a target; `total` is [2,2,P]."""
    for i, (first, last) in enumerate(position_ranges(length)):
        weight = float(total[1, :, i].sum())
        if weight > 0:
            yield {"first": first, "last": last, "weight": weight, **_measures(total[..., i])}


def _measures(sums: NDArray[np.float64]) -> dict[str, float]:
    """Return the losses of sums [2,2] and their perplexities."""
    found = losses(sums)
    return found | {name.replace("loss", "perplexity"): _exp(value) for name, value in found.items()}


def _exp(value: float) -> float:
    return math.exp(value) if value < _LARGEST or math.isnan(value) else math.inf
