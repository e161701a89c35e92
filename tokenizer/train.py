"""Training a frame tokenizer on frames that the caller supplies: the loop, its log and its checkpoints.

What is saved is the moving average of the weights, so every file is usable. Stopping keeps the last one; going
on from it is a warm start (`initial`: weights and codebook, a new optimiser), not an exact resume.
Cost: see `tokenizer/weights/small-128.md`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from schemas.errors import storage_errors
from tokenizer import checkpoint, quantize
from tokenizer.crops import crops
from tokenizer.step import Metrics, compiled_train_step, init_state, warm_state, weights_of
from tokenizer.train_config import TokenizerTrainConfig

__all__ = ["TokenizerTrainConfig", "train_tokenizer"]


def train_tokenizer(
    config: TokenizerTrainConfig,
    frames: Iterable[NDArray[np.uint8]],
    *,
    out: Path,
    initial: Path | None = None,
    on_metrics: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> Path:
    """Train on `frames`, arrays of uint8 `[n, H, W, 3]` (see `crops.crops`), and return `out`.

    `out` (safetensors, float16) is refreshed every `save_every` steps, and metrics go to `out` with the suffix
    `.jsonl` and to `on_metrics`. `initial` begins at the weights of a checkpoint. Raises InputError when there
    is no frame, ConfigError when frames or checkpoint do not fit, StorageError when the disk is full.
    """
    batches = crops(frames, batch=config.batch, config=config.crop, seed=config.seed)
    state = warm_state(config, checkpoint.load(initial, config.model)) if initial else init_state(config, batches)
    step = compiled_train_step(config)
    log_every = max(config.save_every // 10, 1)
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.with_suffix(".jsonl").open("w", encoding="utf-8") as log:
            window = _Window(log, on_metrics)
            for done in range(1, config.steps + 1):
                state, metrics = step(state, jnp.asarray(next(batches)))
                window.add(metrics)
                if done % log_every == 0 or done == config.steps:
                    window.write(done, frames=log_every * config.batch)
                if done % config.save_every == 0 or done == config.steps:
                    checkpoint.save(out, weights_of(config, state), dtype=np.float16)
    return out


class _Window:
    """Metrics since the last line of the log."""

    def __init__(self, log: TextIO, on_metrics: Callable[[dict[str, float]], None]) -> None:
        self._log, self._on_metrics = log, on_metrics
        self._metrics: list[Metrics] = []
        self._began = time.monotonic()

    def add(self, metrics: Metrics) -> None:
        self._metrics.append(metrics)

    def write(self, step: int, *, frames: int) -> None:
        """Write one JSON line: means over the window, code use and perplexity of all its codes together."""
        host = jax.device_get(self._metrics)
        line = {name: float(np.mean([m[name] for m in host])) for name in host[0] if name != "used"}
        used = np.sum([m["used"] for m in host], axis=0)
        line |= {"code_use": float((used > 0).mean()), "perplexity": float(quantize.perplexity(jnp.asarray(used)))}
        now = time.monotonic()
        line = {"step": step, **line, "frames_per_s": frames / (now - self._began)}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        self._on_metrics(line)
        self._metrics, self._began = [], now
