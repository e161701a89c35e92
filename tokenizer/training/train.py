"""Training a frame tokenizer: the loop, in steps that can be stopped anywhere and gone on with exactly.

    out/tokenizer.safetensors   the averaged weights and the codebook, float16; refreshed at every save, always usable
    out/config-from-0.json      what ran from step 0 on; one file for every time the run was started
    out/metrics.jsonl           see `run_log.py`; and out/tensorboard/, out/pictures/000250.png
    out/snapshots/250/          see `snapshots.py`

The same call on the same `out` goes on from the newest snapshot: k steps, a stop and N-k steps give, bit for bit, what
N steps give (on one kind and number of devices). Before the discriminator sets in a step without it is compiled, at
its start one with it. Cost beside the steps: one synchronization with the host a step, to look at its loss.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from schemas.errors import ConfigError, Interrupted, JobError, StorageError, storage_errors
from schemas.files import write_text
from tokenizer.checkpoints import checkpoint
from tokenizer.training import perceptual
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import crops, require_frames
from tokenizer.training.run_log import RunLog
from tokenizer.training.snapshots import KEPT, Snapshots, describe
from tokenizer.training.step import (
    abstract_state,
    compiled_show,
    compiled_train_step,
    everywhere,
    init_state,
    make_mesh,
    warm_state,
    weights_of,
)

__all__ = ["WEIGHTS", "TokenizerTrainConfig", "train_tokenizer"]

WEIGHTS = "tokenizer.safetensors"

_SHOWN = 8  # frames of a picture
_PROBED = 64  # frames that the fingerprint looks at


def train_tokenizer(
    config: TokenizerTrainConfig,
    frames: NDArray[np.uint8],
    *,
    out: Path,
    initial: Path | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    on_metrics: Callable[[dict[str, float]], None] = lambda line: None,
) -> Path:
    """Train on frames, uint8 `[n, H, W, 3]` (in memory or mapped), until `config.steps` are made; return the weights.

    `initial` begins at the weights of a checkpoint, where `out` holds no snapshot yet. Raises, before anything is
    computed, InputError where there is no frame, ConfigError where frames, checkpoint or the options of a run that is
    gone on with do not fit, StorageError where the disk has no room; later JobError where the loss is not finite,
    Interrupted when asked to stop, with everything saved, and StorageError when the disk is full.
    """
    require_frames(frames, config.crop)
    with ExitStack() as stack:
        return _Training(config, frames, out, initial, stack).run(is_stopping, on_metrics)


class _Training:
    """One run, from its start or its newest snapshot to its end."""

    def __init__(
        self,
        config: TokenizerTrainConfig,
        frames: NDArray[np.uint8],
        out: Path,
        initial: Path | None,
        stack: ExitStack,
    ) -> None:
        self._config, self._frames, self._out = config, frames, out
        self._mesh = make_mesh(_devices(config))
        self._vgg = None
        if config.perceptual is not None:
            self._vgg = jax.device_put(perceptual.load(config.perceptual), everywhere(self._mesh))
        weights = checkpoint.load(initial, config.model) if initial else None
        _require_room(out, config)
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        self._description = describe(config, frames=_fingerprint(frames))
        self._snapshots = stack.enter_context(Snapshots(out))
        start = self._snapshots.latest()
        if start is not None:
            self._state = self._snapshots.restore(start, config, self._description, self._mesh)
        else:
            begun = warm_state(config, weights) if weights else init_state(config, map(self._crops, _before()))
            self._state = jax.device_put(begun, everywhere(self._mesh))
        self._step = start or 0
        self._log = stack.enter_context(RunLog(out, step=self._step))
        write_text(out / f"config-from-{self._step}.json", json.dumps(_plain(config), indent=1, sort_keys=True) + "\n")

    def run(self, is_stopping: Callable[[], bool], on_metrics: Callable[[dict[str, float]], None]) -> Path:
        """Make the steps that are left."""
        config = self._config
        log_every = max(config.save_every // 10, 1)
        while self._step < config.steps:
            if is_stopping():
                raise self._interrupted()
            self._advance()
            last = self._step == config.steps
            if self._step % log_every == 0 or last:
                on_metrics(self._log.write(self._step, batch=config.batch))
            if self._step % config.save_every == 0 or last:
                self._save()
        return self._out / WEIGHTS

    def _advance(self) -> None:
        adversarial = self._config.discriminator.weight > 0 and self._step >= self._config.discriminator.start
        step = compiled_train_step(self._config, adversarial=adversarial, mesh=self._mesh)
        self._state, metrics = step(self._state, self._place(self._crops(self._step)), self._vgg)
        self._step += 1
        if not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"])):
            raise self._diverged(f"the loss is {metrics['loss']}, the norm of the gradient {metrics['grad_norm']}")
        self._log.add(metrics)

    def _save(self) -> None:
        """Write a snapshot, then weights and a picture; a state whose weights are out of all bounds is not kept."""
        weights = weights_of(self._config, self._state)
        kept = jax.device_get((self._state.generator, weights.params, weights.codebook))
        if not all(np.abs(leaf).max() <= np.finfo(np.float16).max for leaf in jax.tree.leaves(kept)):  # NaN is not
            raise self._diverged("some weights are no numbers that float16 can hold")
        self._snapshots.save(self._state, self._description)
        checkpoint.save(self._out / WEIGHTS, weights, dtype=np.float16)
        frames = self._crops(0)[:_SHOWN]
        shown = jax.device_put(frames, everywhere(self._mesh))
        rebuilt = compiled_show(self._config)(self._state.averaged, self._state.moved, shown)
        self._log.show(self._step, frames, np.asarray(rebuilt))

    def _crops(self, step: int) -> NDArray[np.uint8]:
        config = self._config
        return crops(self._frames, batch=config.batch, config=config.crop, seed=config.seed, step=step)

    def _place(self, batch: NDArray[np.uint8]) -> jax.Array:
        return jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec("data")))

    def _interrupted(self) -> Interrupted:
        where = f"stopped after step {self._step} of {self._config.steps}"
        if self._step == 0:
            return Interrupted(f"{where}; nothing was made yet. Run the same command to start again.")
        self._save()
        return Interrupted(f"{where}; saved in {self._out}. Run the same command to go on from there.")

    def _diverged(self, what: str) -> JobError:
        newest = self._snapshots.latest()
        back = "There is no snapshot yet" if newest is None else f"The newest snapshot, of step {newest}, is kept"
        return JobError(
            f"training diverged at step {self._step}: {what}. {back}. Run again in "
            "another --out with a lower --learning-rate or a longer --warmup-steps."
        )


def _before() -> range:
    """Steps whose batches the codebook begins at: others than those that are trained on, and endless for this use."""
    return range(1 << 40, (1 << 40) + (1 << 20))


def _devices(config: TokenizerTrainConfig) -> int:
    """Return the number of devices to use; raises ConfigError where there are not as many, or they split no batch."""
    there = jax.local_device_count()
    count = config.devices or there
    if count > there:
        raise ConfigError(f"devices is {count}, but there are {there}: give as many, or none to use all")
    if config.batch % count:
        raise ConfigError(f"batch must be a multiple of the {count} devices, got {config.batch}: or say --devices 1")
    return count


def _require_room(out: Path, config: TokenizerTrainConfig) -> None:
    """Raise StorageError where the disk has no room for the snapshots that are kept and one that is being written."""
    needed = (KEPT + 1) * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract_state(config)))
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise StorageError(
            f"{out} needs {needed / 1e6:,.0f} MB for snapshots, but the disk has {free / 1e6:,.0f} MB left: "
            "free some space or choose another --out"
        )


def _fingerprint(frames: NDArray[np.uint8]) -> str:
    """Return a hash of the frames' shape and of some of them, evenly spread."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    for i in np.unique(np.linspace(0, len(frames) - 1, _PROBED).astype(int)):
        digest.update(frames[i].tobytes())
    return digest.hexdigest()


def _plain(config: TokenizerTrainConfig) -> dict[str, object]:
    fields = dataclasses.asdict(config)
    return fields | {"perceptual": str(config.perceptual) if config.perceptual else None}
