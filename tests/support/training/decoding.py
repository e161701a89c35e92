"""The inference form of a model without the engine around it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from trainer.attention.paged import Pages, PageView, empty_pages
from trainer.model.protocol import Decoder

PAGE = 8


def pages_for(decoder: Decoder, *, rows: int, length: int) -> tuple[Pages, jax.Array]:
    """Return empty pages for rows of `length` tokens, and their tables; page j of row r is page r * J + j."""
    devices = 1 if decoder.mesh is None else decoder.mesh.shape["sequence"]
    each = -(-length // (PAGE * devices))
    sizes = {"layers": decoder.cache.layers, "kv_heads": decoder.cache.kv_heads, "head_dim": decoder.cache.head_dim}
    pages = empty_pages(pages=devices * rows * each, page=PAGE, dtype=decoder.config.dtype, mesh=decoder.mesh, **sizes)
    table = jnp.arange(rows * each, dtype=jnp.int32).reshape(1, rows, each)
    return pages, jnp.tile(table, (devices, 1, 1))


def last_logits(decoder: Decoder, tokens: jax.Array, *, first: int) -> jax.Array:
    """Run `tokens` [B,S] in two blocks, of which the first has `first` tokens; return the logits of the last token."""
    rows, length = tokens.shape
    pages, tables = pages_for(decoder, rows=rows, length=length)
    positions = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None], tokens.shape)
    pages, _ = decoder.extend(pages, tokens[:, :first], PageView(tables, positions[:, :first]))
    _, hidden = decoder.extend(pages, tokens[:, first:], PageView(tables, positions[:, first:]))
    return decoder.logits(hidden[:, -1])
