"""Checkpoints: safetensors with the tensor names and layouts of the published aMUSEd (diffusers) VQGAN.

A parameter's path is its published name, but for the last word: `kernel` and `scale` are `weight` there.
Convolutions are OIHW in the file and HWIO here; the codebook is `quantize.embedding.weight`. Files that this
project writes also carry their configuration in the header, so that they load without being told what they are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.files import atomic
from tokenizer.config import CONFIGS, VqganConfig
from tokenizer.vqgan import abstract

_CODEBOOK = "quantize.embedding.weight"
_LAST_WORD = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_SHOWN = 5  # misfits named in a message


class Weights(NamedTuple):
    """All that a checkpoint holds."""

    config: VqganConfig
    params: nnx.State  # of `Vqgan`, float32
    codebook: jax.Array  # [K, D] float32


def published_shapes(config: VqganConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of a configuration as they stand in a file."""
    shapes = {}
    for path, leaf in jax.tree.leaves_with_path(abstract(config)[1]):
        shape = tuple(leaf.shape)
        shapes[_name(path)] = shape if len(shape) != 4 else (shape[3], shape[2], shape[0], shape[1])
    shapes[_CODEBOOK] = (config.codebook_size, config.latent_dim)
    return shapes


def save(path: Path, weights: Weights, *, dtype: type[np.floating[Any]] = np.float32) -> None:
    """Write `weights` in `dtype` (float16 halves the file; loading always gives float32), whole or not at all.

    Raises ConfigError where a weight is not finite in `dtype`, StorageError where the file cannot be written.
    """
    tensors = {_name(p): _to_file(np.asarray(leaf)) for p, leaf in jax.tree.leaves_with_path(weights.params)}
    tensors[_CODEBOOK] = np.asarray(weights.codebook)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused by name below
        tensors = {name: np.ascontiguousarray(tensors[name].astype(dtype)) for name in sorted(tensors)}
    _check_finite(path, tensors)
    # One entry only: safetensors writes several in an order that differs from call to call.
    header = {"config": json.dumps(dataclasses.asdict(weights.config), sort_keys=True)}
    with atomic(path) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata=header)


def load(path: Path, config: VqganConfig | None = None) -> Weights:
    """Read a checkpoint; `config` defaults to what its header says, or to the named one whose shapes it has.

    Raises ConfigError when the file is missing or cut short, has tensors that do not fit the configuration
    (the first of them are named), or holds a weight that is not finite.
    """
    header, tensors = _read(path)
    config = config or _config_of(path, header, tensors)
    _check_shapes(path, tensors, config)
    _check_finite(path, tensors)
    params = jax.tree.map_with_path(lambda p, leaf: _from_file(tensors[_name(p)]), abstract(config)[1])
    return Weights(config, params, jnp.asarray(tensors[_CODEBOOK], jnp.float32))


def _name(path: tuple[Any, ...]) -> str:
    """Return the published name of a parameter from its path in the model's state."""
    words = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", None)))) for key in path]
    words = [word for word in words if word != "value"]
    return ".".join([*words[:-1], _LAST_WORD[words[-1]]])


def _to_file(array: NDArray[Any]) -> NDArray[Any]:
    return np.einsum("hwio->oihw", array) if array.ndim == 4 else array


def _from_file(array: NDArray[Any]) -> jax.Array:
    return jnp.asarray(np.einsum("oihw->hwio", array) if array.ndim == 4 else array, jnp.float32)


def _read(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            return f.metadata() or {}, {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    except FileNotFoundError as e:
        raise ConfigError(f"no checkpoint at {path}: give a name ({', '.join(CONFIGS)}) or a .safetensors file") from e
    except (OSError, safetensors.SafetensorError) as e:
        raise ConfigError(f"{path} is not a whole safetensors file ({e}): download or copy it again") from e


def _config_of(path: Path, header: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> VqganConfig:
    """Find a file's configuration in its header, or by its shapes among the named ones (the best fit where none is)."""
    if "config" in header:
        try:
            fields = json.loads(header["config"])
            return VqganConfig(**{**fields, "channels": tuple(fields["channels"])})
        except (ValueError, TypeError, KeyError) as e:
            raise ConfigError(f"{path}: its header's `config` cannot be read ({e}): give the configuration") from e
    candidates = [make() for make in CONFIGS.values()]
    return min(candidates, key=lambda config: len(_misfits(tensors, published_shapes(config))))


def _misfits(tensors: Mapping[str, NDArray[Any]], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Say what does not fit, in the order of the model, then what it does not know."""
    found = {name: tuple(array.shape) for name, array in tensors.items()}
    wrong = [
        f"{name} should be {list(shape)} and is {list(found[name]) if name in found else 'missing'}"
        for name, shape in wanted.items()
        if found.get(name) != shape
    ]
    return wrong + [f"{name} {list(shape)} is not part of it" for name, shape in found.items() if name not in wanted]


def _check_shapes(path: Path, tensors: Mapping[str, NDArray[Any]], config: VqganConfig) -> None:
    if misfits := _misfits(tensors, published_shapes(config)):
        more = f"; and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise ConfigError(
            f"{path} does not fit {config.name!r}: {'; '.join(misfits[:_SHOWN])}{more}. "
            "Give a checkpoint in aMUSEd (diffusers VQModel) names, or the configuration it was made with"
        )


def _check_finite(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise ConfigError(f"{path}: {name} has {bad} values of {array.size} that are not finite in {array.dtype}")
