"""The order of a run's data, from its options."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import ConfigError
from trainer.data.order import Order
from trainer.run.config import TrainConfig

_EPOCHS = 4  # repeated so often, text is worth nearly as much as new text: arXiv 2305.16264
_FEWEST_STEPS, _MOST_STEPS = 50, 1000


def fitting_steps(config: TrainConfig, sequences: int) -> int:
    """Return the number of steps of a run that does not say it: about four epochs, within limits."""
    epochs = min(_EPOCHS, config.data.max_epochs or _EPOCHS)
    steps = config.batch_sizes.steps(epochs * sequences)
    fewest = 1 if config.data.max_epochs else _FEWEST_STEPS
    return min(_MOST_STEPS, max(fewest, steps))


def order_of(config: TrainConfig, sizes: Sequence[int]) -> Order:
    """Return the order of the sequences of a run's datasets, which have these numbers of sequences.

    Raises ConfigError if a dataset with a weight has no sequences, or if the data do not last for all steps.
    """
    mixtures, batches = config.mixtures, config.batch_sizes
    for i, (directory, size) in enumerate(zip(config.directories, sizes, strict=True)):
        if not size and any(mixture.weights[i] for mixture in mixtures):
            raise ConfigError(f"{directory} has a weight, but no sequences in the split 'train': leave it out")
    order = Order(
        sizes,
        seed=config.seed,
        mixtures=[(batches.samples(mixture.step), mixture.weights) for mixture in mixtures],
        max_epochs=config.data.max_epochs,
    )
    if order.length is not None and order.length < batches.samples(config.steps):
        last = batches.steps(order.length)
        raise ConfigError(
            f"no dataset is left after step {last} of {config.steps}, because max_epochs is {config.data.max_epochs}: "
            f"take --steps {last}, more epochs, or more data"
        )
    return order
