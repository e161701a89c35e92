"""Checkpoints: parameters, optimizer, step and data position together, committed at once by Orbax.

    checkpoints/120/params        arrays by name, such as `layers/attention/query`
    checkpoints/120/optimizer     arrays by name
    checkpoints/120/position      JSON: step, and the state of the data iterator
    checkpoints/120/description   JSON: model configuration, vocabulary, dataset, and what fixes its order
    checkpoints/120/checksums.json   of all files; see `schemas/runs/checksums.py`

A checkpoint is written under a temporary name and renamed, so every listed checkpoint is complete. What is restored is
compared with the checksums first; where several processes train together, each reads a share. Arrays are stored
unsharded and can be restored on any mesh. Saving copies the state to the host and returns; the write to disk overlaps
with training and is awaited before the next save. Checkpoints contain arrays and JSON only, nothing executable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from schemas.errors import ConfigError, DatasetError
from schemas.field_types import require_types
from schemas.runs.checksums import CHECKSUMS, Checksums, write_checksums
from schemas.runs.naming import array_name
from schemas.runs.storage import older_intact, read_errors, write_errors
from schemas.vocab import Vocabulary
from trainer.config import ModelConfig
from trainer.model.registry import config_from_dict, config_to_dict, family_of
from trainer.run.processes import first_of_all

CHECKPOINTS = "checkpoints"
# Fields that only change how a model is computed, up to rounding. A resumed run may use other values.
_COMPUTE_FIELDS = ("attention", "tile", "chunk", "offload")

_PARAMS, _OPTIMIZER, _POSITION, _DESCRIPTION = "params", "optimizer", "position", "description"
_ITEMS = (_PARAMS, _OPTIMIZER, _POSITION, _DESCRIPTION)


@dataclass(frozen=True, kw_only=True)
class Description:
    """Model, vocabulary and data of a checkpoint. A run resumes only if they match; see `require_same`."""

    model: ModelConfig
    vocabulary: Vocabulary
    context_length: int
    dataset_fingerprint: str
    batch_size: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping; `from_dict` is its inverse."""
        return dataclasses.asdict(self) | {
            "model": config_to_dict(self.model),
            "vocabulary": self.vocabulary.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: Path) -> Description:
        """Read what `to_dict` wrote; raises ConfigError if another version wrote it."""
        try:
            plain = dict(values)
            model, vocabulary = config_from_dict(plain.pop("model")), Vocabulary.from_dict(plain.pop("vocabulary"))
            require_types(cls, plain)
            return cls(model=model, vocabulary=vocabulary, **plain)
        except (TypeError, ValueError, KeyError, AttributeError) as e:
            raise ConfigError(f"{where} was written by another version of Longreel and cannot be read: {e}") from e

    def require_same(self, ours: Description, *, where: Path) -> None:
        """Raise VocabularyMismatch or ConfigError unless a run with `ours` can resume from this checkpoint."""
        self.require_vocabulary(ours.vocabulary, where=where)
        self._require_family(ours, where=where)
        fields = [f.name for f in dataclasses.fields(self.model) if f.name not in _COMPUTE_FIELDS]
        _require_fields(self.model, ours.model, fields, where=where, what="another model")
        order = ["context_length", "dataset_fingerprint", "batch_size", "seed"]
        _require_fields(self, ours, order, where=where, what="other data, or another order of it")

    def require_shapes(self, ours: Description, *, where: Path) -> None:
        """Raise VocabularyMismatch or ConfigError unless a run with `ours` can start from these parameters."""
        self.require_vocabulary(ours.vocabulary, where=where)
        self._require_family(ours, where=where)
        _require_fields(self.model, ours.model, self.model.shape_fields, where=where, what="a model of another shape")

    def _require_family(self, ours: Description, *, where: Path) -> None:
        theirs, this = (family_of(x.model).name for x in (self, ours))
        if theirs != this:
            raise ConfigError(
                f"{where} is a checkpoint of another model family: it has {theirs}, this run {this}. "
                "Choose a --model of that family, or another --out."
            )

    def require_vocabulary(self, ours: Vocabulary, *, where: Path) -> None:
        """Raise VocabularyMismatch that names every difference, unless `ours` is the checkpoint's."""
        self.vocabulary.require_same(ours, ours=f"the checkpoint {where}", theirs="the dataset")


def _require_fields(a: Any, b: Any, names: Sequence[str], *, where: Path, what: str) -> None:
    differing = [
        f"  {name}: the checkpoint has {getattr(a, name)}, this run {getattr(b, name)}"
        for name in names
        if getattr(a, name) != getattr(b, name)
    ]
    if differing:
        raise ConfigError(
            f"{where} is a checkpoint of {what}:\n" + "\n".join(differing) + "\n"
            "Use the same values to resume it; or another --out, and --init-from to start from its parameters."
        )


class Checkpoints:
    """The checkpoints of a run; a context manager that waits for pending writes on exit.

    With `keep`, it owns the run: it deletes the incomplete files of a killed process and keeps the newest `keep`
    checkpoints. Without `keep`, it only reads.
    """

    def __init__(self, run: Path, *, keep: int | None = None) -> None:
        self.path = run.absolute() / CHECKPOINTS
        preserved = preservation_policy.LatestN(keep) if keep else preservation_policy.PreserveAll()
        self._intact: set[tuple[int, str]] = set()  # steps and items whose files were found to be intact
        with write_errors(self.path, what="checkpoint"):
            self._manager = ocp.CheckpointManager(
                self.path,
                item_names=_ITEMS,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=preserved,
                    cleanup_tmp_directories=keep is not None,
                    create=keep is not None,
                    async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_checksums),
                ),
            )

    def _write_checksums(self) -> None:
        """Write the checksums of the checkpoint that has just been written, before it gets its final name.

        Orbax calls this in its background thread, in the first process, when the files of all processes are complete.
        """
        for folder in self.path.iterdir():
            if (folder / _PARAMS).is_dir() and not (folder / CHECKSUMS).exists():
                write_checksums(folder, _ITEMS)

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def newest(self) -> int:
        """Return the step of the newest checkpoint; raises ConfigError if there is none."""
        step = self.latest()
        if step is None:
            raise ConfigError(f"{self.path} has no finished checkpoint yet")
        return step

    def save(self, step: int, *, params: Any, optimizer: Any, position: Any, description: Description) -> None:
        """Start writing a checkpoint; do nothing if the newest one is of this step.

        `params` and `optimizer` are trees of arrays, `position` is JSON-ready. Raises StorageError if the disk is full;
        the error may be raised by the next call or by `wait`.
        """
        if self.latest() == step:
            return
        with write_errors(self.path, what="checkpoint"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.PyTreeSave(named(params)),
                    optimizer=ocp.args.PyTreeSave(named(optimizer)),
                    position=ocp.args.JsonSave({"step": step, "data": position}),
                    description=ocp.args.JsonSave(description.to_dict()),
                ),
            )

    def wait(self) -> None:
        """Wait until saved checkpoints are on disk."""
        with write_errors(self.path, what="checkpoint"):
            self._manager.wait_until_finished()

    def describe(self, step: int) -> Description:
        """Return the description of the checkpoint of `step`."""
        restored = self._restore(step, _DESCRIPTION, ocp.args.JsonRestore())
        return Description.from_dict(restored, where=self.path / str(step))

    def restore_params(self, step: int, like: Any) -> Any:
        """Return the parameters; `like` is a tree of jax.ShapeDtypeStruct with shardings."""
        return self._arrays(step, _PARAMS, like)

    def restore_optimizer(self, step: int, like: Any) -> Any:
        """Return the optimizer's state; `like` as in `restore_params`."""
        return self._arrays(step, _OPTIMIZER, like)

    def restore_position(self, step: int) -> Any:
        """Return the state of the data iterator that was passed to `save`."""
        position = self._restore(step, _POSITION, ocp.args.JsonRestore())
        with self.read_errors(step):
            return position["data"]

    def _arrays(self, step: int, item: str, like: Any) -> Any:
        target = named(like)
        arguments = ocp.args.PyTreeRestore(target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))
        restored = self._restore(step, item, arguments)
        return jax.tree.unflatten(jax.tree.structure(like), [restored[name] for name in target])

    def _restore(self, step: int, item: str, arguments: Any) -> Any:
        with self.read_errors(step):
            if (step, item) not in self._intact:
                self._require_intact(step, item)
                self._intact.add((step, item))
            return self._manager.restore(step, args=ocp.args.Composite(**{item: arguments}))[item]

    def _require_intact(self, step: int, item: str) -> None:
        """Raise DatasetError, in all processes, that names the first damaged file of an item."""
        files = Checksums(self.path / str(step), [item])
        found = files.first_problem(part=jax.process_index(), parts=jax.process_count())
        if (first := first_of_all(found)) is not None:
            raise DatasetError(files.describe(first))

    def read_errors(self, step: int) -> AbstractContextManager[None]:
        """Raise DatasetError, which names an older intact checkpoint, if the one of `step` cannot be used."""

        def remedy() -> str:
            return older_intact(self.path, step, self._manager.all_steps(), _ITEMS, what="checkpoint")

        return read_errors(self.path / str(step), what="checkpoint", remedy=remedy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        # Another error is being raised; an error from waiting must not hide it.
        if e is None:
            self.wait()
        self._manager.close()


def open_run(run: Path) -> Checkpoints:
    """Open the checkpoints of a run for reading; raises ConfigError if `run` is not the output of a training run."""
    if not (run / CHECKPOINTS).is_dir():
        raise ConfigError(f"{run} is not the output of `longreel train`: it has no folder {CHECKPOINTS}/")
    return Checkpoints(run)


def named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by name, in the order of the tree; names do not depend on the classes of nodes."""
    return {array_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
