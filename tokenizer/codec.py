"""Encoding of frames to codes and decoding of codes to frames with a loaded tokenizer.

One compiled function processes batches of a fixed size, the last one padded. The shape of a batch determines the order
of sums inside a convolution, so with variable batches a frame near a decision boundary could get different codes in
different runs. The latents of `small-128` do not depend on the number of threads; those of `lwm-256` may differ by
rounding, as they may for another processor or version of XLA. Decoded pixels can differ by 1 of 255 between numbers of
threads. Cost of `small-128` on two CPU cores: `tokenizer/weights/small-128.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from schemas.errors import ConfigError, InputError, Reason, VocabularyMismatch
from schemas.fingerprint import sha256_file
from schemas.runs.compilation_cache import use_compilation_cache
from schemas.vocab import Vocabulary
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.config import Compute, Lookup, VqganConfig
from tokenizer.quantizers.lookup import find_codes
from tokenizer.vqgan.vqgan import abstract, to_bytes, to_unit
from tokenizer.weights_file import SHIPPED, weights_file

BATCH = 16  # largest number of frames per batch
_CACHED_BYTES = 1 << 23  # of the first and largest activations of a batch, on a CPU
# A schedule for the least memory, since the system clears its pages in every call: 135 instead of 354 MB with
# `lwm-256`. Vectors of 512 bits where the processor has them (LLVM's default is 256): 3 to 5 % faster with `small-128`.
_CPU_OPTIONS = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_cpu_prefer_vector_width": "512",
}
_SHA256 = {"small-128.safetensors": "439541cade30c276ec572ff6c6d1e4cb6e8ee27bc854bca31a2a2745f85bc883"}  # of SHIPPED


class FrameCodec:
    """A tokenizer for frames. The codes of a frame do not depend on other frames or on how a video is split."""

    def __init__(
        self, weights: Weights, *, sha256: str = "", compute: Compute = "float32", batch: int | None = None
    ) -> None:
        self.config = weights.config
        self.sha256 = sha256  # of the weights file
        self.codebook_size = weights.config.codebook_size
        self.frame_size = weights.config.frame_size
        self.grid = weights.config.grid(self.frame_size, self.frame_size)
        self.batch = batch or _batch(weights.config)  # frames per batch; smaller batches are padded
        self._params, self._codebook = weights.params, weights.codebook
        graphdef, _ = abstract(weights.config, compute)
        jit = partial(jax.jit, compiler_options=_compiler_options(jax.default_backend()))
        self._encode = jit(partial(encode, graphdef, weights.config.lookup))
        self._latents = jit(partial(mean_latents, graphdef))
        self._decode = jit(partial(decode, graphdef), static_argnames="grid")

    @classmethod
    def load(cls, name_or_place: str, *, compute: Compute = "float32") -> FrameCodec:
        """Load the shipped checkpoint with this name (`small-128`), or the weights file at this path or URL.

        A file can have any of the published formats (`tokenizer/checkpoints/published.py`). `compute` is the dtype of
        the convolutions; the code lookup is always float32. Raises ConfigError if there is no such file or it does not
        fit.
        """
        use_compilation_cache()
        path = weights_file(name_or_place)
        weights = checkpoint.load(path)
        sha256 = sha256_file(path)
        if path.parent == SHIPPED and sha256 != _SHA256.get(path.name, sha256):
            raise ConfigError(f"{path}: it is damaged: its SHA-256 is {sha256}; install Longreel again")
        return cls(weights, sha256=sha256, compute=compute)

    def require_encoder_of(self, vocabulary: Vocabulary) -> None:
        """Raise VocabularyMismatch unless this tokenizer made the vision tokens that `vocabulary` describes."""
        if self.sha256 != vocabulary.vision_sha256:
            raise VocabularyMismatch(
                f"the VQGAN {self.config.name!r} has the SHA-256 {self.sha256}, but the frames were encoded with "
                f"{vocabulary.vision_sha256}: select that one with --vision NAME or FILE"
            )

    @property
    def code_dtype(self) -> type[np.uint16] | type[np.uint32]:
        """Integer dtype of the codes."""
        return np.uint16 if self.codebook_size <= 1 << 16 else np.uint32

    def encode(self, frames: NDArray[np.uint8]) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """Map uint8 frames `[n, H, W, 3]` to codes `[n, rows * cols]`, in row-major order.

        H and W are multiples of the factor. Raises InputError for n = 0, ConfigError for another dtype or shape, before
        any computation.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ConfigError(f"frames must be uint8 [n, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        if not len(frames):
            raise InputError(Reason.EMPTY, "cannot encode a clip without frames")
        self.config.grid(*frames.shape[1:3])
        run = partial(self._encode, self._params, self._codebook)
        codes = _batched(run, frames, self.batch)
        return codes.astype(np.uint16) if self.code_dtype is np.uint16 else codes.astype(np.uint32)

    def mean_latents(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Map uint8 frames `[n, H, W, 3]`, n > 0, to the mean of the encoder's output over their cells, `[n, D]`."""
        return _batched(partial(self._latents, self._params), frames, self.batch).astype(np.float64)

    def decode(
        self, codes: NDArray[np.uint16] | NDArray[np.uint32], *, grid: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """Map codes `[n, rows * cols]` to uint8 frames `[n, H, W, 3]`; `grid` defaults to that of `frame_size`.

        Raises InputError for n = 0, ConfigError for another shape, VocabularyMismatch for a code outside the
        codebook.
        """
        grid = grid or self.grid
        if codes.ndim != 2 or codes.shape[1] != grid[0] * grid[1] or not np.issubdtype(codes.dtype, np.integer):
            raise ConfigError(f"codes must be integers [n, {grid[0] * grid[1]}], got {codes.dtype} {list(codes.shape)}")
        if not len(codes):
            raise InputError(Reason.EMPTY, "there are no codes to decode")
        if codes.min() < 0 or codes.max() >= self.codebook_size:
            raise VocabularyMismatch(
                f"codes are between {codes.min()} and {codes.max()}, but the codebook of {self.config.name!r} has "
                f"{self.codebook_size} codes: decode them with the tokenizer that encoded them"
            )
        return _batched(
            partial(self._decode, self._params, self._codebook, grid=grid), codes.astype(np.int32), self.batch
        )


@cache
def _compiler_options(backend: str) -> dict[str, str] | None:
    """Return the options for XLA on this backend, None where this version of XLA does not know them."""
    if backend != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return _CPU_OPTIONS


def _batch(config: VqganConfig) -> int:
    """Return the batch size: on a CPU, at most as many frames as fit in its caches."""
    if jax.default_backend() != "cpu":
        return BATCH
    frame_bytes = 4 * config.frame_size**2 * config.channels[0]
    return max(1, min(BATCH, _CACHED_BYTES // frame_bytes))


def encode(
    graphdef: nnx.GraphDef, lookup: Lookup, params: nnx.State, codebook: jax.Array, frames: jax.Array
) -> jax.Array:
    """Map uint8 `[B, H, W, 3]` to int32 codes `[B, h * w]`."""
    latents = nnx.merge(graphdef, params).latents(to_unit(frames))
    return find_codes(latents.reshape(-1, latents.shape[-1]), codebook, lookup=lookup).reshape(frames.shape[0], -1)


def mean_latents(graphdef: nnx.GraphDef, params: nnx.State, frames: jax.Array) -> jax.Array:
    """Map uint8 `[B, H, W, 3]` to the mean latent of every frame, float32 `[B, D]`."""
    latents = nnx.merge(graphdef, params).latents(to_unit(frames))
    return latents.reshape(len(frames), -1, latents.shape[-1]).astype(jnp.float32).mean(1)


def decode(
    graphdef: nnx.GraphDef, params: nnx.State, codebook: jax.Array, codes: jax.Array, *, grid: tuple[int, int]
) -> jax.Array:
    """Map int32 codes `[B, h * w]` to uint8 `[B, H, W, 3]`."""
    latents = codebook[codes].reshape(codes.shape[0], *grid, -1)
    return to_bytes(nnx.merge(graphdef, params).pixels(latents))


def _batched(run: Callable[[jax.Array], jax.Array], rows: NDArray[Any], size: int) -> NDArray[Any]:
    """Apply `run` to `rows` in batches of `size`, with the last one padded with zeros, and drop the padding."""
    done = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        padding = np.zeros((size - len(batch), *rows.shape[1:]), rows.dtype)
        done.append(np.asarray(run(jnp.asarray(np.concatenate([batch, padding]))))[: len(batch)])
    return np.concatenate(done)
