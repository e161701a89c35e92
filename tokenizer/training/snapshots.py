"""Snapshots of a training run: its complete state, committed atomically by Orbax, so that a run resumes exactly.

    snapshots/500/state         arrays by name: parameters, averages, moments, codebook, discriminator, random key, step
    snapshots/500/description   JSON: the options and a fingerprint of the frames
    snapshots/500/checksums.json   of all files; see `schemas/runs/checksums.py`

A snapshot is written under a temporary name and renamed, so every listed snapshot is complete. What is restored is
compared with the checksums first. A batch is a function
of seed and step (`crops.py`), so the step is the position in the data. A snapshot contains nothing executable.
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
from schemas.runs.checksums import CHECKSUMS, Checksums, write_checksums
from schemas.runs.naming import array_name
from schemas.runs.storage import older_intact, read_errors, write_errors
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.step import TrainState, abstract_state, replicated

SNAPSHOTS = "snapshots"
KEPT = 2

_STATE, _DESCRIPTION = _ITEMS = ("state", "description")
_CHANGEABLE = ("steps", "save_every", "devices", "perceptual")  # may differ on resume; `perceptual` is a path


def describe(config: TokenizerTrainConfig, *, frames: str) -> dict[str, Any]:
    """Return what must be equal for a run to resume from a snapshot, as plain JSON."""
    fields = dataclasses.asdict(config)
    described = {name: value for name, value in fields.items() if name not in _CHANGEABLE}
    described |= {"perceptual": config.perceptual is not None, "frames": frames}
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


class Snapshots:
    """The snapshots of a run; a context manager."""

    def __init__(self, run: Path) -> None:
        self.path = run.absolute() / SNAPSHOTS
        with write_errors(self.path, what="snapshot"):
            self._manager = ocp.CheckpointManager(
                self.path,
                item_names=_ITEMS,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=preservation_policy.LatestN(KEPT),
                    cleanup_tmp_directories=True,
                    create=True,
                    async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_checksums),
                ),
            )

    def _write_checksums(self) -> None:
        """Write the checksums of the snapshot that has just been written, before it gets its final name."""
        for folder in self.path.iterdir():
            if (folder / _STATE).is_dir() and not (folder / CHECKSUMS).exists():
                write_checksums(folder, _ITEMS)

    def latest(self) -> int | None:
        """Return the step of the newest snapshot, or None."""
        step: int | None = self._manager.latest_step()
        return step

    def save(self, state: TrainState, description: Mapping[str, Any]) -> None:
        """Write a snapshot and wait until it is on disk; does nothing if the newest is of this step.

        Raises StorageError if the disk is full.
        """
        step = int(state.step)
        if self.latest() == step:
            return
        with write_errors(self.path, what="snapshot"):
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

        Raises ConfigError if the run has other options or frames, DatasetError if the snapshot cannot be read.
        """
        where = self.path / str(step)
        restored = self._restore(where, _DESCRIPTION, ocp.args.JsonRestore())
        if differing := _differences(restored, description):
            raise ConfigError(
                f"{where} belongs to a run with different options:\n" + "\n".join(differing) + "\n"
                "Give the same options; or give another --out, with --initial to start from its weights."
            )
        abstract = abstract_state(config)
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
            jax.eval_shape(_plain, abstract),
        )
        target = _named(like)
        arguments = ocp.args.PyTreeRestore(target, restore_args=ocp.checkpoint_utils.construct_restore_args(target))
        arrays = self._restore(where, _STATE, arguments)
        state = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in target])
        return state._replace(key=jax.random.wrap_key_data(state.key))

    def _restore(self, where: Path, item: str, arguments: Any) -> Any:
        def remedy() -> str:
            return older_intact(self.path, int(where.name), self._manager.all_steps(), _ITEMS, what="snapshot")

        with read_errors(where, what="snapshot", remedy=remedy):
            for problem in Checksums(where, [item]).problems():
                raise DatasetError(problem)
            return self._manager.restore(int(where.name), args=ocp.args.Composite(**{item: arguments}))[item]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.close()


def _plain(state: TrainState) -> TrainState:
    """Return the state with its random key as plain integers, which Orbax can store."""
    return state._replace(key=jax.random.key_data(state.key))


def _named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by name, in the tree's order."""
    return {array_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _differences(theirs: Any, ours: Mapping[str, Any], prefix: str = "") -> list[str]:
    if not isinstance(theirs, dict):
        return [f"  the snapshot has {type(theirs).__name__} instead of options"]
    found = []
    for name in sorted({*theirs, *ours}):
        a, b = theirs.get(name), ours.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"  {prefix}{name}: the snapshot has {a}, this run has {b}")
    return found
