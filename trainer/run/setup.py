"""The components of a training run, built from its configuration and datasets and validated before the first step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from numpy.typing import NDArray

from schemas.counted import counted, few_digits
from schemas.errors import ConfigError
from schemas.files import write_text
from schemas.vocab import Vocabulary
from trainer.config import ModelConfig
from trainer.data.loader import Batch, Placement
from trainer.data.order import Order
from trainer.data.shards import PackedSplit
from trainer.divisibility import require_micro_batches, require_rows
from trainer.mesh import make_mesh, require_host_memory
from trainer.model.loss import LossSums
from trainer.model.registry import config_to_dict, family_of, parameter_count
from trainer.run.checkpoint import open_run
from trainer.run.config import TrainConfig
from trainer.run.copies.fetched import local_run
from trainer.run.data_order import fitting_steps, order_of
from trainer.run.description import Description
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.speed import speed_of
from trainer.run.state import Plan, TrainState, load_params, new_state, state_from_params
from trainer.run.step import StepMetrics, compile_eval, compile_step
from trainer.run.utilization import peak_flops

TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, StepMetrics]]
EvalStep = Callable[[Any, Batch], LossSums]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The components of a run, checked for consistency; nothing has been written or computed yet."""

    config: TrainConfig
    split: PackedSplit
    order: Order
    held_out: PackedSplit | None  # None if the run does not evaluate, or no dataset has sequences in val
    placements: Mapping[int, Placement]  # of a batch, by its size
    held_out_placement: Placement  # of a micro-batch, the batch size of evaluation
    optimizer: optax.GradientTransformation
    plan: Plan
    description: Description

    @classmethod
    def of(cls, config: TrainConfig) -> Setup:
        """Open the datasets, make the mesh and plan the state.

        Raises ConfigError, DatasetError or VocabularyMismatch if configuration and data do not fit together.
        """
        model, mesh = config.model_config(), make_mesh(config.mesh)
        model.require_mesh(mesh.shape)
        require_rows(config.batch_size, mesh.shape, accumulate=config.memory.accumulate)
        if model.offload or config.optimizer.offload:
            require_host_memory(mesh.local_devices[0])
        require_micro_batches(config.batch_sizes.sizes, config.rows)
        split = PackedSplit(config.directories, "train")
        if split.context_length > model.max_positions:
            raise ConfigError(
                f"the dataset's context of {split.context_length} tokens is longer than the model's max_positions "
                f"{model.max_positions}: pack at {model.max_positions} tokens or fewer, or use a recipe with more"
            )
        config = replace(config, steps=config.steps or fitting_steps(config, len(split)))
        place = partial(Placement.of, mesh, layout=config.layout, tile=model.tile)
        unique = tuple(dict.fromkeys(config.directories))
        steps = config.optimizer.decay_steps or config.steps
        optimizer, plan = _planned(model, split.vocabulary, config.optimizer, steps=steps, mesh=mesh)
        return cls(
            config=config,
            split=split,
            order=order_of(config, split.sizes),
            held_out=PackedSplit(unique, "val") if config.cadence.eval_every and "val" in split.all_splits else None,
            placements={size: place((size, split.context_length)) for size in config.batch_sizes.sizes},
            held_out_placement=place((config.rows, split.context_length)),
            optimizer=optimizer,
            plan=plan,
            description=Description(
                model=model,
                vocabulary=split.vocabulary,
                context_length=split.context_length,
                dataset_fingerprint=split.fingerprint,
                batch_size=config.batch_size,
                seed=config.seed,
                mixture=" ".join(map(str, config.mixtures)),
                max_epochs=config.data.max_epochs,
                batch_ramp=" ".join(map(str, config.data.batch_ramp)),
                optimizer=config.optimizer,
                schedule_steps=None if config.optimizer.schedule == "constant" else steps,
            ),
        )

    @property
    def placement(self) -> Placement:
        """The placement of the first batch."""
        return self.placements[self.config.batch_size]

    def sequences(self, number: int) -> NDArray[np.int64]:
        """Return the indices [B] of the sequences of batch `number`."""
        sizes = self.config.batch_sizes
        return self.order.sequences(sizes.samples(number), sizes.samples(number + 1))

    def epochs(self, step: int) -> dict[str, float]:
        """Return how often the data were used in `step` steps: as a whole, and each dataset that has a weight."""
        samples, sizes = self.config.batch_sizes.samples(step), self.order.sizes
        parts = zip(self.order.used(samples), sizes, strict=True)
        each = {f"epoch_{i}": used / size for i, (used, size) in enumerate(parts, 1)} if self.config.mixtures else {}
        return {"epoch": samples / len(self.split), **each}

    def exhausted(self, step: int) -> list[str]:
        """Return a line for each dataset that reaches the maximum of epochs in `step`, counted from 1."""
        first, last = (self.config.batch_sizes.samples(n) for n in (step - 1, step))
        names = self.config.directories if self.config.mixtures else ["the data"]
        return [
            f"step {step}: warning: {names[source]} was used for {self.config.data.max_epochs} epochs "
            "(--max-epochs) and is left out from here on"
            for samples, source in self.order.exhausted
            if first < samples <= last
        ]

    def expected_seconds(self, steps: int) -> float | None:
        """Return about how long the steps after the first `steps` take without compilation, None if it is not known."""
        about, costs = self.description, family_of(self.description.model).costs
        if costs is None:
            return None
        sizes = {"text_size": about.vocabulary.text_size, "vision_size": about.vocabulary.vision_size}
        mean_span = (self.split.mean_document + 1) / 2
        flops = costs.flops_per_token(about.model, **sizes, mean_span=mean_span)
        batches, devices = self.config.batch_sizes, self.plan.mesh.devices
        tokens = self.split.context_length * (batches.samples(self.config.steps) - batches.samples(steps))
        peak = self.config.tracking.peak_flops or peak_flops(devices.flat[0].device_kind)
        return speed_of(about.model.dtype, devices=devices.size, flops_per_s=peak).seconds(tokens * flops)

    def check_init_from(self) -> None:
        """Raise ConfigError or VocabularyMismatch if the checkpoint of `init_from` cannot initialize this run."""
        if self.config.init_from is not None:
            with open_run(local_run(self.config.init_from)) as checkpoints:
                step = checkpoints.newest()
                checkpoints.describe(step).require_shapes(self.description, where=checkpoints.path / str(step))

    def initial_state(self) -> TrainState:
        """Return the initial state, with the parameters of `init_from` if it is set."""
        if self.config.init_from is not None:
            params = load_params(self.plan, local_run(self.config.init_from))
            return state_from_params(self.plan, params, optimizer=self.optimizer)
        about = self.description
        return new_state(self.plan, about.model, about.vocabulary, optimizer=self.optimizer, seed=about.seed)

    def compile_step(self, batch_size: int) -> TrainStep:
        """Compile the training step for batches of this size."""
        optimizer = self.config.optimizer
        return _compiled_step(
            self.description.model,
            self.description.vocabulary,
            optimizer,
            steps=optimizer.decay_steps or self.config.steps,
            mesh=self.plan.mesh,
            shape=self.placements[batch_size].shape,
            accumulate=batch_size // self.config.rows,
        )

    def compile_eval(self) -> EvalStep:
        """Compile the evaluation step."""
        model, vocabulary, optimizer = self.description.model, self.description.vocabulary, self.config.optimizer
        stored = OptimizerConfig(param_dtype="float32" if optimizer.ema_decay is not None else optimizer.param_dtype)
        shape = self.held_out_placement.shape
        return _compiled_eval(model, vocabulary, stored, mesh=self.plan.mesh, shape=shape)

    def write_config(self, path: Path) -> None:
        """Write configuration, model, vocabulary, dataset, mesh, device and JAX version as JSON."""
        about, mesh = self.description, self.plan.mesh
        config = dataclasses.asdict(self.config) | {"dataset": list(map(str, self.config.directories))}
        places = {name: getattr(self.config, name) for name in ("copy_to", "init_from")}
        spelled = {name: None if place is None else str(place) for name, place in places.items()}
        facts = {
            "config": config | spelled | {"mixture": list(map(str, self.config.mixtures))},
            "model": config_to_dict(about.model),
            "parameters": self.parameters,
            "vocabulary": about.vocabulary.to_dict(),
            "dataset_fingerprint": about.dataset_fingerprint,
            "mesh": dict(mesh.shape),
            "device": mesh.devices.flat[0].device_kind,
            "jax": jax.__version__,
        }
        write_text(path, json.dumps(facts, indent=2, default=str) + "\n")

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        vocabulary = self.description.vocabulary
        sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
        return parameter_count(self.description.model, **sizes)

    def __str__(self) -> str:
        mesh = ", ".join(f"{axis} {size}" for axis, size in self.plan.mesh.shape.items())
        rows, context = self.placement.shape
        parts = self.config.memory.accumulate
        apart = f" in {counted(parts, 'micro-batch', 'micro-batches')}" if parts > 1 else ""
        sizes = self.config.batch_sizes
        growing = "".join(f", {part.size} from step {part.step} on" for part in sizes.parts[1:])
        rates = self.config.optimizer.describe(self.config.steps)
        return (
            f"{self.config.model.recipe or 'model'}: {self.parameters / 1e6:.1f} million parameters; mesh: {mesh}; "
            f"{counted(rows, 'sequence')} of {context:,} tokens per step{apart}{growing}; "
            f"{few_digits(self.epochs(self.config.steps)['epoch'])} epochs in {counted(self.config.steps, 'step')}; "
            f"{rates}"
        )


# Tracing and compiling take seconds to minutes, so runs of one process with the same shapes share the programs.


@lru_cache(maxsize=4)
def _planned(
    model: ModelConfig, vocabulary: Vocabulary, config: OptimizerConfig, *, steps: int, mesh: Mesh
) -> tuple[optax.GradientTransformation, Plan]:
    optimizer = make_optimizer(config, steps=steps)
    return optimizer, Plan.of(model, vocabulary, optimizer=optimizer, mesh=mesh, storage=config)


@lru_cache(maxsize=4)
def _compiled_step(
    model: ModelConfig,
    vocabulary: Vocabulary,
    config: OptimizerConfig,
    *,
    steps: int,
    mesh: Mesh,
    shape: tuple[int, int],
    accumulate: int,
) -> TrainStep:
    optimizer, plan = _planned(model, vocabulary, config, steps=steps, mesh=mesh)
    return compile_step(
        plan,
        optimizer,
        schedule(config, steps=steps),
        shape=shape,
        accumulate=accumulate,
        ema_decay=config.ema_decay,
    )


@lru_cache(maxsize=4)
def _compiled_eval(
    model: ModelConfig, vocabulary: Vocabulary, stored: OptimizerConfig, *, mesh: Mesh, shape: tuple[int, int]
) -> EvalStep:
    plan = Plan.of(model, vocabulary, optimizer=optax.identity(), mesh=mesh, storage=stored)
    return compile_eval(plan, shape=shape)
