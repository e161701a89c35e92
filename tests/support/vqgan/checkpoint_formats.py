"""One example per published format: a file of random weights, frames, and the output of an independent model.

The shapes are small but cover all differences between the formats: attention, several levels, another inner dimension.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import serialization
from numpy.typing import NDArray

from tests.support.vqgan import torch_zip
from tests.support.vqgan.reference_flax import Lwm, Maskgit, randomized
from tests.support.vqgan.reference_torch import AMUSED, LLAMAGEN, TAMING, Names, Tensors, TorchVqgan

FAST_COMPILE = {"xla_backend_optimization_level": "0"}
LEVELS_2, LEVELS_3 = (32, 64), (32, 32, 64)


@dataclass(frozen=True)
class Example:
    """The weights of a file, frames, and the codes and pixels of an independent model."""

    tree: Any
    frames: NDArray[np.uint8]  # [2, 4 * factor, 6 * factor, 3]
    codes: NDArray[Any]  # [2, 24]
    pixels: NDArray[Any]  # decoded from the codes, size of the frames, not clipped to [-1, 1]


def _frames(channels: tuple[int, ...]) -> NDArray[np.uint8]:
    factor = 2 ** (len(channels) - 1)
    return np.random.default_rng(5).integers(0, 256, (2, 4 * factor, 6 * factor, 3), dtype=np.uint8)


def _torch(names: Names, seed: int, *, channels: tuple[int, ...] = LEVELS_2, **change: Any) -> Example:
    shape: dict[str, Any] = {"blocks": 1, "attention": (1,), "mid_attention": True}
    shape |= {"encoder_dim": 24, "latent_dim": 16, "codes": 48}
    model, frames = TorchVqgan(names, Tensors(seed), channels, **shape | change), _frames(channels)
    codes = model.encode(frames.astype(np.float64) / 127.5 - 1)
    return Example(model.tensors.drawn, frames, codes, model.decode(codes, (4, 6)))


@cache
def amused() -> Example:
    return _torch(AMUSED, 1, attention=(), mid_attention=False, blocks=2, encoder_dim=16)


@cache
def diffusers() -> Example:
    return _torch(AMUSED, 2)


@cache
def taming() -> Example:
    return _torch(TAMING, 3, channels=LEVELS_3, attention=(2,))


@cache
def ibq() -> Example:
    return _torch(TAMING, 4, blocks=2, lookup="product")


@cache
def llamagen() -> Example:
    return _torch(LLAMAGEN, 5, lookup="angle", latent_dim=8)


def _flax(model: Lwm | Maskgit, pixels: NDArray[Any], seed: int) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    pixels = pixels.astype(np.float32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # required by the layers of Linen
        tree = randomized(jax.eval_shape(model.init, jax.random.key(0), pixels)["params"], seed)
        codes, made = jax.jit(model.apply, compiler_options=FAST_COMPILE)({"params": tree}, pixels)
    return tree, np.asarray(codes).reshape(2, -1), np.asarray(made)


@cache
def lwm() -> Example:
    model = Lwm(LEVELS_3, blocks=1, z=24, codes=48, dim=16)
    tree, codes, made = _flax(model, _frames(LEVELS_3) / 127.5 - 1, 6)
    return Example(tree, _frames(LEVELS_3), codes, made)


@cache
def maskgit() -> Example:
    model = Maskgit(LEVELS_3, blocks=2, codes=48, dim=16)
    tree, codes, made = _flax(model, _frames(LEVELS_3) / 255, 7)
    return Example(tree, _frames(LEVELS_3), codes, 2 * made - 1)


def write_ibq(path: Path) -> None:
    """Write the weights as the averaged ones, and other values as the last ones."""
    averaged = ibq().tree
    state = {name: array + 1 for name, array in averaged.items()}
    state |= {"model_ema." + name.replace(".", ""): array for name, array in averaged.items()}
    state |= {"model_ema.decay": np.float32([0.999]), "loss.discriminator.main.0.weight": np.zeros((4, 3), np.float32)}
    torch_zip.save(path, {"epoch": 3, "state_dict": state, "optimizer_states": [{"step": np.int64([1])}]})


def write_llamagen(path: Path) -> None:
    state = llamagen().tree | {"quantize.codebook_used": np.zeros(65536, np.float32)}
    torch_zip.save(path, {"model": state, "discriminator": {"x": np.zeros(2, np.float32)}, "steps": 5})


def write_taming(path: Path) -> None:
    state = taming().tree | {"loss.perceptual_loss.net.0.weight": np.zeros((4, 3), np.float32)}
    torch_zip.save(path, {"state_dict": state, "global_step": 7, "callbacks": {"best": [1.5, None]}})


# name: (the example, the function that writes its file, fields of the configuration that must be inferred)
FORMATS: dict[str, tuple[Callable[[], Example], Callable[[Path], Any], dict[str, Any]]] = {
    "amused": (
        amused,
        lambda path: safetensors.numpy.save_file(amused().tree, path),
        {"name": "amused-f2-48", "blocks": 2, "encoder_dim": None, "lookup": "distance"},
    ),
    "diffusers": (
        diffusers,
        lambda path: safetensors.numpy.save_file(diffusers().tree, path),
        {"attention": (1,), "mid_attention": True, "encoder_dim": 24},
    ),
    "taming": (taming, write_taming, {"name": "taming-f4-48", "attention": (2,), "lookup": "distance"}),
    "ibq": (ibq, write_ibq, {"name": "ibq-f2-48", "blocks": 2, "lookup": "product"}),
    "llamagen": (llamagen, write_llamagen, {"name": "llamagen-f2-48", "latent_dim": 8, "lookup": "product"}),
    "lwm": (
        lwm,
        lambda path: path.write_bytes(pickle.dumps(lwm().tree, 4)),
        {"name": "lwm-f4-48", "mid_attention": False, "encoder_dim": 24},
    ),
    "maskgit": (
        maskgit,
        lambda path: path.write_bytes(serialization.to_bytes({"params": maskgit().tree})),
        {"decoder_blocks": 2, "downsample": "average", "shortcut": "output", "pixel_range": "unsigned"},
    ),
}
