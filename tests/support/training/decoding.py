"""The inference form of a model without the engine around it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tests.support.training.packed_sequences import VOCABULARY
from trainer.attention.paged import Pages, PageView, empty_pages
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.decoder import LlamaDecoder
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
    for part in (slice(0, first), slice(first, length)):
        pages, logits = run_block(decoder, pages, tokens[:, part], PageView(tables, positions[:, part]))
    return logits


@jax.jit
def run_block(decoder: Decoder, pages: Pages, tokens: jax.Array, view: PageView) -> tuple[Pages, jax.Array]:
    """Run a block of `tokens` [B,S]; return the pages with it and the logits of its last token."""
    pages, hidden = decoder.extend(pages, tokens, view)
    return pages, decoder.logits(hidden[:, -1])


def counting_decoder(**settings: object) -> LlamaDecoder:
    """Return a decoder without layers, which need compiling, whose likeliest id is the one after the last id."""
    size, text = VOCABULARY.size, VOCABULARY.text_size
    shape = {"dim": size, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 2, "ff_dim": 4}
    config = LlamaConfig(**{**shape, "dtype": "float32", **settings})  # type: ignore[arg-type]
    ids = np.eye(size, dtype=np.float32)
    embeddings, heads = ids, np.roll(ids, 1, axis=1)
    return LlamaDecoder(
        embeddings=tuple(map(jnp.asarray, (embeddings[:, :text], embeddings[:, text:]))),
        heads=tuple(map(jnp.asarray, (heads[:, :text], heads[:, text:]))),
        layers=(),
        final_norm=jnp.ones(size, jnp.float32),
        text_size=text,
        vision_size=size - text,
        config=config,
        mesh=None,
    )
