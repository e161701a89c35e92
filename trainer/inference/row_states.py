"""What is remembered on the devices of the ids of every row: which occurred, and where the grammar is."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from trainer.inference import programs
from trainer.inference.programs import RowState, rounded_up
from trainer.inference.rows import Row
from trainer.model.grammar import DocumentGrammar
from trainer.model.protocol import Decoder


def no_rows(decoder: Decoder, grammar: DocumentGrammar | None, *, count: int) -> RowState:
    """Return the state of `count` rows that have no ids yet."""
    state = None
    if grammar is not None:
        zeros = jnp.zeros(count, jnp.int32)
        state = grammar.start(jnp.zeros((count, 1), jnp.int32), jnp.int32(0), least=zeros, most=zeros)
    seen = jnp.zeros((count, decoder.text_size + decoder.vision_size), jnp.bool_)
    made: RowState = programs.replicated(RowState(seen, state), decoder)
    return made


def with_row(rows: RowState, row: Row, decoder: Decoder, grammar: DocumentGrammar | None) -> RowState:
    """Return the state of all rows after a new one with a prompt takes its slot."""
    seen = np.zeros((1, rows.seen.shape[1]), np.bool_)
    seen[0, row.ids] = True
    state = None
    if grammar is not None:
        padded = np.zeros((1, rounded_up(len(row.ids))), np.int32)
        padded[0, : len(row.ids)] = row.ids
        frames = row.request.frames
        limits = [np.full(1, n, np.int32) for n in ((frames.least, frames.most) if frames else (0, 0))]
        state = programs.grammar_state(grammar, padded, np.int32(len(row.ids)), least=limits[0], most=limits[1])
    new = programs.replicated(RowState(seen, state), decoder)  # type: ignore[arg-type]
    return programs.admit(rows, np.int32(row.slot), new)
