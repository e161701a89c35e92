"""Which code a latent becomes. Tokenizers do it in three ways, and a dataset's codes depend on which."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tokenizer.config import Lookup
from tokenizer.quantizers.base import nearest, products


def find(latents: jax.Array, codebook: jax.Array, *, lookup: Lookup) -> jax.Array:
    """Return for latents `[N, D]` the index of a code of `[K, D]`, int32 `[N]`; ties go to the lowest.

    "distance" takes the nearest code. "product" takes the code of the largest inner product: so does IBQ
    (arXiv 2412.02692), and so does a lookup by angle (LlamaGen, arXiv 2406.06525) once the codes have length one.
    "bounded" takes the code nearest to the latent's tanh: FSQ, whose codebook is a grid.
    """
    if lookup == "product":
        return jnp.argmax(products(latents, codebook), axis=-1).astype(jnp.int32)
    return nearest(jnp.tanh(latents.astype(jnp.float32)) if lookup == "bounded" else latents, codebook)
