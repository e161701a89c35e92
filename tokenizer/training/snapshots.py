"""Snapshots of a training run: its whole state, committed at once by Orbax, so that it can be gone on with exactly.

    snapshots/500/state         arrays by name: parameters, averages, moments, codebook, discriminator, random key, step
    snapshots/500/description   JSON: the options and a fingerprint of the frames

One that can be listed is whole: it is written under a temporary name and renamed. A batch is a function of seed and
step (`crops.py`), so the step is the position in the data. Nothing in a snapshot is executable.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import preservation_policy

from schemas.errors import ConfigError, DatasetError
from schemas.runs import leaf_words, orbax_errors
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.step import TrainState, abstract_state, everywhere

SNAPSHOTS = "snapshots"
KEPT = 2

_STATE, _DESCRIPTION = "state", "description"
_FREE = ("steps", "save_every", "devices", "perceptual")  # may differ when a run goes on; `perceptual` is a path


def describe(config: TokenizerTrainConfig, *, frames: str) -> dict[str, Any]:
    """Return what a run has to have in common with the snapshot that it goes on from, as plain JSON."""
    fields = dataclasses.asdict(config)
    shown = {name: value for name, value in fields.items() if name not in _FREE}
    shown |= {"perceptual": config.perceptual is not None, "frames": frames}
    plain: dict[str, Any] = json.loads(json.dumps(shown))
    return plain


class Snapshots:
    """The snapshots of a run; a context manager that waits for what is being written."""

    def __init__(self, run: Path) -> None:
        self.path = run.absolute() / SNAPSHOTS
        with orbax_errors(self.path, what="snapshot"):
            self._manager = ocp.CheckpointManager(
                self.path,
                item_names=(_STATE, _DESCRIPTION),
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=preservation_policy.LatestN(KEPT), cleanup_tmp_directories=True, create=True
                ),
            )

    def latest(self) -> int | None:
        """Return the step of the newest snapshot, or None where there is none."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, state: TrainState, description: Mapping[str, Any]) -> None:
        """Write a snapshot, and wait until it is on disk; does nothing where the newest is of this step.

        Raises StorageError where the disk is full.
        """
        step = int(state.step)
        if self.latest() == step:
            return
        with orbax_errors(self.path, what="snapshot"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(_named(_plain(state))), description=ocp.args.JsonSave(dict(description))
                ),
            )
            self._manager.wait_until_finished()

    def restore(
        self, step: int, config: TokenizerTrainConfig, description: Mapping[str, Any], mesh: Mesh
    ) -> TrainState:
        """Return the state of a snapshot, copied to all devices of `mesh`.

        Raises ConfigError where the run has other options or frames, DatasetError where it cannot be read.
        """
        where = self.path / str(step)
        restored = self._restore(where, {_DESCRIPTION: ocp.args.JsonRestore()})[_DESCRIPTION]
        if differing := _differences(restored, description):
            raise ConfigError(
                f"{where} belongs to a run with other options:\n" + "\n".join(differing) + "\n"
                "Give the ones it was made with; or another --out, with --initial to begin at its weights."
            )
        abstract = abstract_state(config)
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere(mesh)),
            jax.eval_shape(_plain, abstract),
        )
        target = _named(like)
        arguments = ocp.args.PyTreeRestore(target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))
        arrays = self._restore(where, {_STATE: arguments})[_STATE]
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in target])
        return state._replace(key=jax.random.wrap_key_data(state.key))

    def _restore(self, where: Path, items: Mapping[str, Any]) -> Any:
        try:
            return self._manager.restore(int(where.name), args=ocp.args.Composite(**items))
        except (OSError, ValueError, KeyError) as e:
            raise DatasetError(
                f"the snapshot {where} cannot be read ({e}). Remove that folder to go on from the one before it."
            ) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.close()


def _plain(state: TrainState) -> TrainState:
    """Return the state with its key as numbers, which can be stored."""
    return state._replace(key=jax.random.key_data(state.key))


def _named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by name, in the tree's order; names do not depend on the classes of its nodes."""
    return {"/".join(leaf_words(path)): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], under: str = "") -> list[str]:
    found = []
    for name in sorted({*theirs, *ours}):
        a, b = theirs.get(name), ours.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{under}{name}.")
        elif a != b:
            found.append(f"  {under}{name}: the snapshot has {a}, this run {b}")
    return found
