"""What a checkpoint says of its run: model, vocabulary, data, optimizer. A run that resumes is compared with it.

Some differences cannot be resumed with: parameters of other shapes, another vocabulary, another optimizer. The others
change what the run computes from here on (learning rate, rotary base, data and their order): the user has to allow
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from schemas.errors import ConfigError
from schemas.field_types import require_types
from schemas.vocab import Vocabulary
from trainer.config import ModelConfig
from trainer.model.registry import config_from_dict, config_to_dict, family_of
from trainer.run.optimizer import OptimizerConfig

# Fields that only change how a model is computed, up to rounding. A resumed run may use other values.
_COMPUTE_FIELDS = ("attention", "tile", "chunk", "remat", "offload")
_DATA_FIELDS = (
    "context_length",
    "dataset_fingerprint",
    "batch_size",
    "batch_ramp",
    "mixture",
    "max_epochs",
    "seed",
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """Model, vocabulary, data and optimizer of a checkpoint."""

    model: ModelConfig
    vocabulary: Vocabulary
    context_length: int
    dataset_fingerprint: str
    batch_size: int
    seed: int
    mixture: str = ""  # weights of the datasets by step, as options spell them; "" without weights
    max_epochs: int | None = None
    batch_ramp: str = ""
    optimizer: OptimizerConfig | None = None  # None in checkpoints that do not tell
    schedule_steps: int | None = None  # the step at which the schedule ends, if it has an end

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping; `from_dict` is its inverse."""
        return dataclasses.asdict(self) | {
            "model": config_to_dict(self.model),
            "vocabulary": self.vocabulary.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: Path) -> Self:
        """Read what `to_dict` wrote; raises ConfigError if another version wrote it."""
        try:
            plain = dict(values)
            model, vocabulary = config_from_dict(plain.pop("model")), Vocabulary.from_dict(plain.pop("vocabulary"))
            optimizer = plain.pop("optimizer", None)
            if optimizer is not None:
                require_types(OptimizerConfig, optimizer)
                optimizer = OptimizerConfig(**optimizer)
            require_types(cls, plain)
            return cls(model=model, vocabulary=vocabulary, optimizer=optimizer, **plain)
        except (TypeError, ValueError, KeyError, AttributeError) as e:
            raise ConfigError(f"{where} was written by another version of Longreel and cannot be read: {e}") from e

    def require_resumable(self, ours: Description, *, where: Path, allow_changed: bool) -> list[str]:
        """Return what a run with `ours`, which resumes from this checkpoint, changes.

        Raises VocabularyMismatch or ConfigError if it cannot resume, or changes something without `allow_changed`.
        """
        self.require_shapes(ours, where=where)
        if self.optimizer and ours.optimizer and self.optimizer.name != ours.optimizer.name:
            raise ConfigError(
                f"{where} has the state of the optimizer {self.optimizer.name}, which {ours.optimizer.name} cannot "
                f"use: take --optimizer.name {self.optimizer.name}, or another --out with --init-from"
            )
        changed = self._changes(ours)
        if changed and not allow_changed:
            raise ConfigError(
                f"{where} was trained with other settings:\n" + "\n".join(f"  {line}" for line in changed) + "\n"
                "Use the same values to resume it, or --allow-changed to go on with the new ones; or another --out, "
                "and --init-from to start from its parameters."
            )
        return changed

    def require_shapes(self, ours: Description, *, where: Path) -> None:
        """Raise VocabularyMismatch or ConfigError unless a run with `ours` can use these parameters."""
        self.require_vocabulary(ours.vocabulary, where=where)
        theirs, this = (family_of(x.model).name for x in (self, ours))
        if theirs != this:
            raise ConfigError(
                f"{where} is a checkpoint of another model family: it has {theirs}, this run {this}. "
                "Choose a --model of that family, or another --out."
            )
        if differing := _differences(self.model, ours.model, self.model.shape_fields):
            raise ConfigError(
                f"{where} is a checkpoint of a model of another shape:\n"
                + "\n".join(f"  {line}" for line in differing)
                + "\nChoose the same shapes, or another --out."
            )

    def require_vocabulary(self, ours: Vocabulary, *, where: Path) -> None:
        """Raise VocabularyMismatch that names every difference, unless `ours` is the checkpoint's."""
        self.vocabulary.require_same(ours, ours=f"the checkpoint {where}", theirs="the dataset")

    def _changes(self, ours: Description) -> list[str]:
        kept = (*_COMPUTE_FIELDS, *self.model.shape_fields)
        fields = [f.name for f in dataclasses.fields(self.model) if f.name not in kept]
        changes = _differences(self.model, ours.model, fields) + _differences(self, ours, _DATA_FIELDS)
        if self.optimizer is not None and ours.optimizer is not None:
            fields = [f.name for f in dataclasses.fields(OptimizerConfig) if f.name not in ("decay_steps", "offload")]
            changes += _differences(self.optimizer, ours.optimizer, fields)
            changes += _differences(self, ours, ["schedule_steps"])
        return changes


def _differences(theirs: Any, ours: Any, names: Sequence[str]) -> list[str]:
    pairs = ((name, getattr(theirs, name), getattr(ours, name)) for name in names)
    return [f"{name}: the checkpoint has {a}, this run {b}" for name, a, b in pairs if a != b]
