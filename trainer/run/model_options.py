"""Options for the model of a run: whose configuration it starts from, and what differs from that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError, DatasetError
from schemas.runs.checkpoint_files import CHECKPOINTS
from schemas.storage.location import Location
from trainer.config import ModelConfig
from trainer.model.registry import config_from_dict, config_to_dict, family_of, recipe
from trainer.run.checkpoint import open_run
from trainer.run.copies.fetched import local_run

DEFAULT_RECIPE = "small"


@dataclass(frozen=True, kw_only=True)
class RopeScalingOptions:
    """How rotary frequencies are scaled to a context beyond that of the pretraining. With `kind`, the others have their
    defaults; without it, they change the scaling of the recipe or of the run to start from."""

    kind: str | None = None
    """linear, yarn, llama3 or longrope; none removes the scaling."""
    factor: float | None = None
    """Ratio of the context to that of the pretraining."""
    original_positions: int | None = None
    """Context of the pretraining in tokens; all kinds but linear need it."""
    attention_factor: float | None = None
    """yarn, longrope: factor on cosines and sines. Default: what the papers recommend."""
    low_frequency_factor: float | None = None
    """llama3: frequencies that turn less often in the pretraining context are divided by the factor. Default: 1."""
    high_frequency_factor: float | None = None
    """llama3: frequencies that turn more often are kept. Default: 4."""
    beta_fast: float | None = None
    """yarn: frequencies that turn more often are kept. Default: 32."""
    beta_slow: float | None = None
    """yarn: frequencies that turn less often are divided. Default: 1."""
    truncate: bool | None = None
    """yarn: widen the ramp between both to whole indices. Default: true."""
    divisors: tuple[float, ...] = ()
    """longrope: divisors of the frequencies, head-dim / 2 of them."""

    def applied(self, base: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the values of the scaling `base`, changed; None for no scaling."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, ())}
        if self.kind == "none":
            if len(given) > 1:
                raise ConfigError("rope_scaling.kind none removes the scaling, so it takes no other values")
            return None
        if given and self.kind is None and base is None:
            raise ConfigError("rope_scaling needs a kind, as the model has no scaling: give --model.rope-scaling.kind")
        if self.kind is not None and self.factor is None:
            raise ConfigError(f"rope_scaling.kind {self.kind} needs a factor: give --model.rope-scaling.factor")
        return given if self.kind is not None else {**base, **given} if base is not None else None


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model. Sizes that are not given are those of the recipe; `longreel plan-training` shows the result."""

    recipe: str | None = None
    """Named sizes to start from: debug, small, 10m, 30m, 100m, 1b, 7b or lwm_7b. Default: those of the run that is
    resumed, or of --init-from; small otherwise."""
    dim: int | None = None
    """Width of the residual stream."""
    layers: int | None = None
    """Number of layers."""
    heads: int | None = None
    """Number of query heads."""
    kv_heads: int | None = None
    """Number of key and value heads; it divides heads."""
    head_dim: int | None = None
    """Width of a head; heads x head-dim need not be dim."""
    ff_dim: int | None = None
    """Width of the feed-forward layer."""
    norm_eps: float | None = None
    """Number that norms add to the mean square."""
    tied_heads: bool | None = None
    """Whether the embedding tables are also the output heads."""
    qkv_bias: bool | None = None
    """Whether queries, keys and values have biases, as in Qwen 2."""
    output_bias: bool | None = None
    """Whether the output of attention has a bias."""
    qk_norm: bool | None = None
    """Whether each query and key head is normed, as in Qwen 3."""
    rope_theta: float | None = None
    """Base of the rotary angles. LWM raises it with the context: 1e6 at 32K tokens, 1e7 at 128K, 5e7 at 1M."""
    rope_scaling: RopeScalingOptions = field(default_factory=RopeScalingOptions)
    max_positions: int | None = None
    """Longest document in tokens."""
    tile: int | None = None
    """Side of a block of attention in tokens."""
    chunk: int | None = None
    """Tokens per block in everything except attention."""

    def __post_init__(self) -> None:
        if self.recipe is not None:
            recipe(self.recipe)

    @property
    def changes(self) -> dict[str, Any]:
        """The fields that are given, except the recipe and the scaling."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        others = ("recipe", "rope_scaling")
        return {name: value for name, value in values.items() if value is not None and name not in others}

    def configuration(self, *, resumed: Path | None = None, init_from: Location | None = None) -> ModelConfig:
        """Return the configuration of the recipe, or else of the run to resume or to start from, then changed.

        Raises ConfigError for values that do not fit together or if `init_from` has no checkpoint, DatasetError if a
        checkpoint cannot be read.
        """
        return self.applied(self._base(resumed, init_from))

    def applied(self, base: ModelConfig) -> ModelConfig:
        """Return `base` with the fields that are given; raises ConfigError for values that do not fit together."""
        known = {field.name for field in dataclasses.fields(base)}
        if foreign := [f"--model.{name.replace('_', '-')}" for name in self.changes if name not in known]:
            raise ConfigError(f"{', '.join(foreign)}: models of the family {family_of(base).name} have no such value")
        changed = dataclasses.replace(base, **self.changes)
        return changed if self.rope_scaling == RopeScalingOptions() else self._scaled(changed)

    def _scaled(self, model: ModelConfig) -> ModelConfig:
        values = config_to_dict(model)
        if "rope_scaling" not in values:
            raise ConfigError(f"--model.rope-scaling: models of the family {family_of(model).name} have no such value")
        return config_from_dict(values | {"rope_scaling": self.rope_scaling.applied(values["rope_scaling"])})

    def _base(self, resumed: Path | None, init_from: Location | None) -> ModelConfig:
        if self.recipe is not None:
            return recipe(self.recipe)
        if resumed is not None and (model := _stored_model(resumed)) is not None:
            return model
        if init_from is None:
            return recipe(DEFAULT_RECIPE)
        with open_run(local_run(init_from)) as checkpoints:
            return checkpoints.describe(checkpoints.newest()).model


def _stored_model(run: Path) -> ModelConfig | None:
    """Return the model of the newest checkpoint of a run whose description is not damaged; None if there is none."""
    if not (run / CHECKPOINTS).is_dir():
        return None
    with open_run(run) as checkpoints:
        for step in reversed(checkpoints.steps()):
            try:
                return checkpoints.describe(step).model
            except DatasetError:  # the run resumes from an older one, or says what is damaged
                continue
    return None
