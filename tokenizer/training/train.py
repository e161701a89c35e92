"""Training of a frame tokenizer: the loop, which can be interrupted after any step and resumed exactly.

    out/tokenizer.safetensors   averaged weights and codebook, float16; replaced at every save, always complete
    out/config-from-0.json      the configuration from step 0 on; one file for each start of the run
    out/metrics.jsonl           see `metrics.py`; and out/tensorboard/, out/pictures/000250.png
    out/snapshots/250/          see `snapshots.py`

The same call with the same `out` resumes from the newest snapshot: k steps, an interruption and N-k steps give the
same bytes as N steps (on the same kind and number of devices). The step is compiled twice: without the discriminator,
and with it from its start on. Cost in addition to the steps: one synchronization with the host per step, to check its
loss.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from schemas.counted import counted
from schemas.errors import Interrupted, JobError, storage_errors
from schemas.files import write_text
from schemas.runs.compilation_cache import use_compilation_cache
from schemas.runs.messages import messages
from schemas.runs.metrics import MetricsLog
from schemas.runs.progress import TrainingProgress
from schemas.runs.tensorboard import TensorBoard
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.training import perceptual
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import crops, fingerprint, require_frames
from tokenizer.training.generator import Metrics
from tokenizer.training.metrics import MetricsWindow
from tokenizer.training.pictures import comparison, write_picture
from tokenizer.training.resources import device_count, require_disk_space
from tokenizer.training.snapshots import Snapshots, describe
from tokenizer.training.step import (
    TrainState,
    compiled_reconstruct,
    compiled_train_step,
    init_state,
    make_mesh,
    replicated,
    state_from_weights,
    weights_of,
)

WEIGHTS = "tokenizer.safetensors"

_PICTURE_FRAMES = 8
_METRICS_PER_SAVE = 10
_INITIAL_STEP = 1 << 40  # the codebook is initialized from the batches of steps that training never reaches


def train_tokenizer(
    config: TokenizerTrainConfig,
    frames: NDArray[np.uint8],
    *,
    out: Path,
    initial: Path | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """Train on frames, uint8 `[n, H, W, 3]` (in memory or memory-mapped), up to `config.steps`; return the weights.

    A new run starts from the weights of the checkpoint `initial`, if given. Raises, before any computation,
    InputError if there is no frame, ConfigError if frames, checkpoint or the options of a resumed run do not fit,
    StorageError if the disk lacks space; later JobError if the loss is not finite, Interrupted after `is_stopping`
    returned true and everything is saved, and StorageError if the disk is full.
    """
    require_frames(frames, config.crop)
    use_compilation_cache()
    messages.info("train-tokenizer: compiling the training step; on a CPU this takes up to a minute", event="compiling")
    with ExitStack() as stack:
        return _Training(config, frames, out, initial, stack).run(is_stopping)


class _Training:
    """One run, from its start or its newest snapshot to its end. `stack` closes what it opens."""

    def __init__(
        self,
        config: TokenizerTrainConfig,
        frames: NDArray[np.uint8],
        out: Path,
        initial: Path | None,
        stack: ExitStack,
    ) -> None:
        self._config, self._frames, self._out = config, frames, out
        self._created = time.perf_counter()
        self._mesh = make_mesh(device_count(config))
        self._vgg = None
        if config.perceptual is not None:
            self._vgg = jax.device_put(perceptual.load(config.perceptual), replicated(self._mesh))
        weights = checkpoint.load(initial, config.model) if initial else None
        require_disk_space(out, config)
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        self._description = describe(config, frames=fingerprint(frames))
        self._snapshots = stack.enter_context(Snapshots(out))
        self._step = self._snapshots.latest() or 0
        self._state = self._initial_state(weights)
        self._open_logs(stack)

    def _initial_state(self, weights: Weights | None) -> TrainState:
        config = self._config
        if self._step:
            return self._snapshots.restore(self._step, config, self._description, self._mesh)
        state = state_from_weights(config, weights) if weights else init_state(config, self._initial_batches())
        return jax.device_put(state, replicated(self._mesh))

    def _open_logs(self, stack: ExitStack) -> None:
        out, step = self._out, self._step
        self._board = TensorBoard(out, step=step)
        self._log = stack.enter_context(MetricsLog(out, step=step, boards=[self._board]))
        self._progress = stack.enter_context(TrainingProgress("train-tokenizer", steps=self._config.steps, done=step))
        if self._log.damaged:
            self._progress.log(f"dropped {counted(self._log.damaged, 'damaged line')} of {self._log.path}")
        self._window = MetricsWindow()
        write_text(out / f"config-from-{step}.json", json.dumps(_plain(self._config), indent=1, sort_keys=True) + "\n")

    def run(self, is_stopping: Callable[[], bool]) -> Path:
        """Make the remaining steps."""
        config, first = self._config, self._step + 1
        log_every = max(config.save_every // _METRICS_PER_SAVE, 1)
        while self._step < config.steps:
            if is_stopping():
                raise self._interrupted()
            metrics = self._advance()
            if self._step == first:
                seconds = time.perf_counter() - self._created
                text = f"train-tokenizer: compiled, and made the first step, in {seconds:.1f} s"
                self._progress.log(text, event="compiled", seconds=round(seconds, 1))
                self._progress.start()
            self._progress.update(self._step, f"loss {metrics['loss']:.4f}, PSNR {metrics['psnr']:.1f} dB")
            last = self._step == config.steps
            if self._step % log_every == 0 or last:
                self._log.write("train", self._step, self._window.average(batch=config.batch))
            if self._step % config.save_every == 0 or last:
                self._save()
        return self._out / WEIGHTS

    def _advance(self) -> Metrics:
        adversarial = self._config.discriminator.weight > 0 and self._step >= self._config.discriminator.start
        step = compiled_train_step(self._config, adversarial=adversarial, mesh=self._mesh)
        self._state, metrics = step(self._state, self._place(self._crops(self._step)), self._vgg)
        self._step += 1
        if not (math.isfinite(metrics["loss"]) and math.isfinite(metrics["gradient_norm"])):
            raise self._diverged(f"the loss is {metrics['loss']}, the gradient norm {metrics['gradient_norm']}")
        self._window.add(metrics)
        return metrics

    def _save(self) -> None:
        """Write a snapshot, then weights and a picture; raise JobError instead if a weight does not fit in float16."""
        weights = weights_of(self._config, self._state)
        saved = jax.device_get((self._state.generator, weights.params, weights.codebook))
        # Written such that NaN fails the comparison.
        if not all(np.abs(leaf).max() <= np.finfo(np.float16).max for leaf in jax.tree.leaves(saved)):
            raise self._diverged("some weights are not finite in float16")
        self._snapshots.save(self._state, self._description)
        checkpoint.save(self._out / WEIGHTS, weights, dtype=np.float16)
        self._save_picture()

    def _save_picture(self) -> None:
        frames = self._crops(0)[:_PICTURE_FRAMES]
        placed = jax.device_put(frames, replicated(self._mesh))
        reconstruct = compiled_reconstruct(self._config)
        reconstructed = reconstruct(self._state.averaged, self._state.quantizer_state, placed)
        picture = comparison(frames, np.asarray(reconstructed))
        write_picture(self._out, self._step, picture)
        self._board.add_image("reconstruction", picture, self._step)

    def _crops(self, step: int) -> NDArray[np.uint8]:
        config = self._config
        return crops(self._frames, batch=config.batch, config=config.crop, seed=config.seed, step=step)

    def _initial_batches(self) -> Iterator[NDArray[np.uint8]]:
        """Yield batches without end, none of which is trained on."""
        return map(self._crops, count(_INITIAL_STEP))

    def _place(self, batch: NDArray[np.uint8]) -> jax.Array:
        return jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec("data")))

    def _interrupted(self) -> Interrupted:
        position = f"stopped after step {self._step} of {self._config.steps}"
        if self._step == 0:
            return Interrupted(f"{position}; nothing was saved. Run the same command to start again.")
        self._save()
        return Interrupted(f"{position}; saved in {self._out}. Run the same command to resume.")

    def _diverged(self, reason: str) -> JobError:
        newest = self._snapshots.latest()
        kept = "There is no snapshot yet" if newest is None else f"The newest snapshot, of step {newest}, is kept"
        return JobError(
            f"training diverged at step {self._step}: {reason}. {kept}. Run again in "
            "another --out with a lower --learning-rate or a longer --warmup-steps."
        )


def _plain(config: TokenizerTrainConfig) -> dict[str, object]:
    fields = dataclasses.asdict(config)
    return fields | {"perceptual": str(config.perceptual) if config.perceptual else None}
