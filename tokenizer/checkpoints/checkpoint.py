"""Checkpoints: safetensors with the tensor names and layouts of the published aMUSEd (diffusers) VQGAN.

A parameter's path is its published name, but for the last word: `kernel` and `scale` are `weight` there.
Convolutions are OIHW in the file and HWIO here, matrices output first; the codebook is
`quantize.embedding.weight`. Files that this project writes also carry their configuration in the header, so that
they load without being told what they are. Of the other published forms (`tokenizer/checkpoints/published.py`) the
configuration is told from names and shapes (`tokenizer/checkpoints/infer_config.py`).
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
import safetensors.numpy
from flax import nnx
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.files import atomic
from schemas.runs.naming import key_words
from tokenizer.checkpoints import containers
from tokenizer.checkpoints.infer_config import infer
from tokenizer.checkpoints.lazy_tensor import Stored
from tokenizer.checkpoints.published import CODEBOOK as _CODEBOOK
from tokenizer.checkpoints.published import translate
from tokenizer.config import VqganConfig
from tokenizer.vqgan.vqgan import abstract

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
        shapes[_name(path)] = (*shape[:-3:-1], *shape[:-2])
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
    for name, tensor in tensors.items():
        try:
            _check_finite(name, tensor)
        except ConfigError as e:
            raise ConfigError(f"{path}: {e}") from e
    with atomic(path) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata=_header_of(weights.config))


def load(path: Path, config: VqganConfig | None = None) -> Weights:
    """Read a checkpoint of any published form.

    `config` defaults to what the file's header says, or else to what its tensors' names and shapes tell.
    Raises ConfigError when the file is missing or cut short, is of no known kind, would execute anything, has
    tensors that do not fit the configuration (the first of them are named), or holds a weight that is not finite.
    """
    contents = containers.read(path)
    try:
        published = translate(contents.tensors)
        config = config or _config_of(contents.header) or infer(published)
        _check_shapes(published.tensors, config)
        # One at a time and at once as float32: what the file holds is not held twice.
        params = jax.tree.map_with_path(lambda p, _: _from_file(published.tensors, _name(p)), abstract(config)[1])
        return Weights(config, params, _from_file(published.tensors, _CODEBOOK))
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def _name(path: tuple[Any, ...]) -> str:
    """Return the published name of a parameter from its path in the model's state."""
    words = key_words(path)
    return ".".join([*words[:-1], _LAST_WORD[words[-1]]])


def _to_file(array: NDArray[Any]) -> NDArray[Any]:
    """Put the output's axis first, where a kernel has one."""
    return np.einsum({4: "hwio->oihw", 2: "io->oi", 1: "c->c"}[array.ndim], array)


def _from_file(tensors: Mapping[str, Stored], name: str) -> jax.Array:
    array = tensors[name].read()
    _check_finite(name, array)
    if name != _CODEBOOK:
        array = np.einsum({4: "oihw->hwio", 2: "oi->io", 1: "c->c"}[array.ndim], array)
    return jnp.asarray(array, jnp.float32)


def _config_of(header: Mapping[str, str]) -> VqganConfig | None:
    """Read the configuration in a file's header, if there is one."""
    if "config" not in header:
        return None
    try:
        fields: dict[str, Any] = json.loads(header["config"])
        told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return VqganConfig(**told)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise ConfigError(f"its header's `config` cannot be read ({e}): give the configuration") from e


def _header_of(config: VqganConfig) -> dict[str, str]:
    """Write a configuration down, without the fields that are as in LWM."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    told = {f.name: fields[f.name] for f in dataclasses.fields(config) if fields[f.name] != f.default}
    # One entry only: safetensors writes several in an order that differs from call to call.
    return {"config": json.dumps(told, sort_keys=True)}


def _misfits(tensors: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Say what does not fit, in the order of the model, then what it does not know."""
    found = {name: stored.shape for name, stored in tensors.items()}
    wrong = [
        f"{name} should be {list(shape)} and is {list(found[name]) if name in found else 'missing'}"
        for name, shape in wanted.items()
        if found.get(name) != shape
    ]
    return wrong + [f"{name} {list(shape)} is not part of it" for name, shape in found.items() if name not in wanted]


def _check_shapes(tensors: Mapping[str, Stored], config: VqganConfig) -> None:
    if misfits := _misfits(tensors, published_shapes(config)):
        more = f"; and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise ConfigError(
            f"it does not fit {config.name!r}: {'; '.join(misfits[:_SHOWN])}{more}. "
            "Give a whole file of the weights of a VQGAN, or the configuration it was made with"
        )


def _check_finite(name: str, array: NDArray[Any]) -> None:
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise ConfigError(f"{name} has {bad} values of {array.size} that are not finite in {array.dtype}")
