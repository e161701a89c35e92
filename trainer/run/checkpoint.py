"""Checkpoints: parameters, optimizer, step and data position together, committed at once by Orbax.

    checkpoints/120/params        arrays by name, such as `layers/attention/query`
    checkpoints/120/optimizer     arrays by name
    checkpoints/120/ema           arrays by name, as of params; only if the run keeps a moving average of them
    checkpoints/120/position      JSON: step, and the state of the data iterator
    checkpoints/120/description   JSON; see `description.py`
    checkpoints/120/checksums.json   of all files; see `schemas/runs/checksums.py`

A checkpoint is written under a temporary name and renamed, so every listed checkpoint is complete. What is restored is
compared with the checksums first; where several processes train together, each reads a share. Arrays are stored
unsharded and can be restored on any mesh. A damaged one is set aside, and the run resumes from the one before. Saving
copies the state to the host and returns; the write to disk overlaps with training and is awaited before the next save.
Checkpoints contain arrays and JSON only, nothing executable.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from schemas.errors import ConfigError, DatasetError, StorageError, storage_errors
from schemas.runs.checkpoint_files import CHECKPOINTS, DESCRIPTION, EMA, ITEMS, OPTIMIZER, PARAMS, POSITION
from schemas.runs.checksums import CHECKSUMS, Checksums, write_checksums
from schemas.runs.naming import array_name, earlier_name
from schemas.runs.storage import older_intact, read_errors, write_errors
from trainer.config import Weights
from trainer.run.arrays import ArrayReader
from trainer.run.description import Description
from trainer.run.earlier_versions import is_of_earlier_version
from trainer.run.group.processes import first_of_all, wait_for_all
from trainer.run.orbax_log import hide_errors_raised_later
from trainer.run.retention import Retention

SET_ASIDE = "checkpoints-set-aside"


class Checkpoints:
    """The checkpoints of a run; a context manager that waits for pending writes on exit.

    With `keep`, it owns the run: it deletes the incomplete files of a killed process and the checkpoints that are not
    to be kept. Without `keep`, it only reads.
    """

    def __init__(self, run: Path, *, keep: Retention | None = None) -> None:
        self.path = run.absolute() / CHECKPOINTS
        hide_errors_raised_later()
        self._intact: set[tuple[int, str]] = set()  # steps and items whose files were found to be intact
        with write_errors(self.path, what="checkpoint"):
            self._manager = ocp.CheckpointManager(
                self.path,
                item_names=ITEMS,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=keep or preservation_policy.PreserveAll(),
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
            if (folder / PARAMS).is_dir() and not (folder / CHECKSUMS).exists():
                write_checksums(folder, ITEMS)

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def newest(self) -> int:
        """Return the step of the newest checkpoint; raises ConfigError if there is none."""
        step = self.latest()
        if step is None:
            raise ConfigError(f"{self.path} has no finished checkpoint yet")
        return step

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, in ascending order."""
        return sorted(self._manager.all_steps())

    def require(self, step: int) -> None:
        """Raise ConfigError, with the steps that exist, unless there is a checkpoint of `step`."""
        if step not in self.steps():
            have = ", ".join(map(str, self.steps())) or "none"
            raise ConfigError(f"{self.path} has no checkpoint of step {step}; it has: {have}")

    def newest_intact(self) -> tuple[int | None, list[str]]:
        """Return the step of the newest checkpoint whose files are all intact, and what is wrong with newer ones.

        Every process must call this together; each reads a share of the files.
        """
        problems: list[str] = []
        for step in reversed(self.steps()):
            try:
                for item in ITEMS:
                    self._check(step, item)
            except DatasetError as e:
                problems.append(str(e))
            else:
                return step, problems
        return None, problems

    def require_resumable(self, step: int) -> None:
        """Raise ConfigError if only the parameters of the checkpoint of `step` can be used."""
        if is_of_earlier_version(self.path / str(step)):
            raise ConfigError(
                f"{self.path / str(step)} was written by a version of Longreel before 2026-11-28, whose optimizer and "
                f"place in the data cannot be resumed: start from its parameters, with --init-from {self.path.parent} "
                "and another --out"
            )

    def set_aside_after(self, step: int | None) -> Path | None:
        """Move the checkpoints after `step`, all for None, out of the way; return their new folder, if there are any.

        Every process must call this together.
        """
        later = [other for other in self.steps() if step is None or other > step]
        if not later:
            return None
        aside = self.path.with_name(SET_ASIDE)
        if jax.process_index() == 0:
            with storage_errors(aside):
                aside.mkdir(exist_ok=True)
                for other in later:
                    (self.path / str(other)).rename(_unused(aside / str(other)))
        wait_for_all("checkpoints are set aside")
        self._manager.reload()
        return aside

    def save(
        self, step: int, *, params: Any, optimizer: Any, position: Any, description: Description, ema: Any = None
    ) -> None:
        """Start writing a checkpoint; do nothing if the newest one is of this step.

        `params`, `optimizer` and `ema` are trees of arrays, `position` is JSON-ready. Raises StorageError if the disk
        is full; the error may be raised by the next call or by `wait`.
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
                    **({} if ema is None else {EMA: ocp.args.PyTreeSave(named(ema))}),
                ),
            )

    def wait(self) -> None:
        """Wait until saved checkpoints are on disk."""
        with write_errors(self.path, what="checkpoint"):
            self._manager.wait_until_finished()

    def describe(self, step: int) -> Description:
        """Return the description of the checkpoint of `step`."""
        restored = self._restore(step, DESCRIPTION, ocp.args.JsonRestore())
        return Description.from_dict(restored, where=self.path / str(step))

    def has_ema(self, step: int) -> bool:
        """Whether the checkpoint of `step` has a moving average of the parameters."""
        return (self.path / str(step) / EMA).is_dir()

    def restore_params(self, step: int, like: Any, *, weights: Weights = "params") -> Any:
        """Return the parameters, or their moving average; `like` is a tree of jax.ShapeDtypeStruct with shardings.

        Raises ConfigError if there is no moving average.
        """
        self._require(step, weights)
        return self._arrays(step, weights, like)

    def restore_optimizer(self, step: int, like: Any) -> Any:
        """Return the optimizer's state; `like` as in `restore_params`."""
        return self._arrays(step, OPTIMIZER, like)

    def open_params(self, step: int, *, weights: Weights = "params") -> ArrayReader:
        """Open the parameters, or their moving average, to be read in parts, after comparing the checksums.

        Raises ConfigError if there is no moving average.
        """
        self._require(step, weights)
        with self.read_errors(step):
            self._check(step, weights)
            return ArrayReader(self.path / str(step) / weights)

    def _require(self, step: int, weights: Weights) -> None:
        if weights == EMA and not self.has_ema(step):
            raise ConfigError(
                f"{self.path / str(step)} has no moving average of the parameters: train with --optimizer.ema-decay, "
                "or take --weights params"
            )

    def restore_position(self, step: int) -> Any:
        """Return the state of the data iterator that was passed to `save`."""
        position = self._restore(step, POSITION, ocp.args.JsonRestore())
        with self.read_errors(step):
            return position["data"]

    def _arrays(self, step: int, item: str, like: Any) -> Any:
        with self.read_errors(step):
            self._check(step, item)
            stored = ocp.PyTreeCheckpointer().metadata(self.path / str(step) / item).item_metadata.tree
        target = {name if name in stored else earlier_name(name): leaf for name, leaf in named(like).items()}
        arguments = ocp.args.PyTreeRestore(target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))
        restored = self._restore(step, item, arguments)
        return jax.tree.unflatten(jax.tree.structure(like), [restored[name] for name in target])

    def _restore(self, step: int, item: str, arguments: Any) -> Any:
        with self.read_errors(step):
            self._check(step, item)
            return self._manager.restore(step, args=ocp.args.Composite(**{item: arguments}))[item]

    def _check(self, step: int, item: str) -> None:
        """Raise DatasetError, in all processes, that names the first damaged file of an item; check it only once."""
        if (step, item) in self._intact or is_of_earlier_version(self.path / str(step)):
            return
        files = Checksums(self.path / str(step), [item])
        found = files.first_problem(part=jax.process_index(), parts=jax.process_count())
        if (first := first_of_all(found)) is not None:
            raise DatasetError(files.describe(first))
        self._intact.add((step, item))

    def read_errors(self, step: int) -> AbstractContextManager[None]:
        """Raise DatasetError, which names an older intact checkpoint, if the one of `step` cannot be used."""

        def remedy() -> str:
            return older_intact(self.path, step, self._manager.all_steps(), ITEMS, what="checkpoint")

        return read_errors(self.path / str(step), what="checkpoint", remedy=remedy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        if e is None:
            self.wait()
        # Closing waits for pending writes, too. If another error is being raised, theirs must not hide it.
        with nullcontext() if e is None else suppress(StorageError), write_errors(self.path, what="checkpoint"):
            self._manager.close()


def open_run(run: Path) -> Checkpoints:
    """Open the checkpoints of a run for reading; raises ConfigError if `run` is not the output of a training run."""
    if not (run / CHECKPOINTS).is_dir():
        raise ConfigError(f"{run} is not the output of `longreel train`: it has no folder {CHECKPOINTS}/")
    return Checkpoints(run)


def named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by name, in the order of the tree; names do not depend on the classes of nodes."""
    return {array_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _unused(path: Path) -> Path:
    """Return `path`, or the first of `path.1`, `path.2`, … that does not exist."""
    return next(p for p in chain([path], (path.with_name(f"{path.name}.{i}") for i in count(1))) if not p.exists())
