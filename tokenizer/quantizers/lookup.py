"""Assignment of codes to latents, by one of three rules. The rule is part of a tokenizer's identity."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tokenizer.config import Lookup
from tokenizer.quantizers.base import inner_products, nearest_codes


def find_codes(latents: jax.Array, codebook: jax.Array, *, lookup: Lookup) -> jax.Array:
    """Return the index of a code of `[K, D]` for each of the latents `[N, D]`, int32 `[N]`; the lowest wins a tie.

    "distance" selects the nearest code. "product" selects the code with the largest inner product, as IBQ does
    (arXiv 2412.02692); for codes of length 1 this is a lookup by angle (LlamaGen, arXiv 2406.06525). "bounded" selects
    the code nearest to the latent's tanh, as FSQ does, whose codebook is a grid in [-1, 1].
    """
    if lookup == "product":
        return jnp.argmax(inner_products(latents, codebook), axis=-1).astype(jnp.int32)
    return nearest_codes(jnp.tanh(latents.astype(jnp.float32)) if lookup == "bounded" else latents, codebook)
