"""What a training run needs of the machine, checked before any work: devices and disk space."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax

from schemas.errors import ConfigError, StorageError
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.snapshots import KEPT
from tokenizer.training.step import abstract_state


def device_count(config: TokenizerTrainConfig) -> int:
    """Return the number of devices to use; raises ConfigError if there are too few, or they do not divide the batch."""
    available = jax.local_device_count()
    count = config.devices or available
    if count > available:
        raise ConfigError(
            f"devices is {count}, but JAX finds {available}: give at most {available}, or omit the option"
        )
    if config.batch % count:
        raise ConfigError(f"batch must be a multiple of the {count} devices, got {config.batch}: or give --devices 1")
    return count


def require_disk_space(out: Path, config: TokenizerTrainConfig) -> None:
    """Raise StorageError unless the disk has space for the kept snapshots and one that is being written."""
    needed = (KEPT + 1) * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract_state(config)))
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if (free := shutil.disk_usage(existing).free) < needed:
        raise StorageError(
            f"{out} needs {needed / 1e6:,.0f} MB for snapshots, but the disk has {free / 1e6:,.0f} MB free: "
            "free some space or give another --out"
        )
