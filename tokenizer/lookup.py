"""Which code a latent becomes. Published tokenizers do it in two ways, and a dataset's codes depend on which."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tokenizer.config import Lookup
from tokenizer.quantize import nearest


def find(latents: jax.Array, codebook: jax.Array, *, lookup: Lookup) -> jax.Array:
    """Return for latents `[N, D]` the index of a code of `[K, D]`, int32 `[N]`; ties go to the lowest.

    "distance" takes the nearest code. "product" takes the code of the largest inner product: so does IBQ
    (arXiv 2412.02692), and so does a lookup by angle (LlamaGen, arXiv 2406.06525) once the codes have length one.
    """
    if lookup == "distance":
        return nearest(latents, codebook)
    latents, codebook = latents.astype(jnp.float32), codebook.astype(jnp.float32)
    products = jnp.matmul(latents, codebook.T, precision=jax.lax.Precision.HIGHEST)  # as in `nearest`
    return jnp.argmax(products, axis=-1).astype(jnp.int32)
