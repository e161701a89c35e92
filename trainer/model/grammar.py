"""The document grammar: the ids that are allowed next, computed inside a jitted loop.

    outside vision    text ids; the ids of `<vision>` open vision
    inside            P codes per frame, then <eof> or <eov>
    after <eov>       the ids of `</vision>`, then outside again
    after eos         eos only

`<vision>` and `</vision>` are text: one id each, or several if the text tokenizer splits them. `</vision>` is allowed
only after <eov>. No further frame or video is allowed after the most frames of a row.

Axes: B batch, V vocabulary, P codes per frame, M ids of the longer marker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from schemas.errors import ConfigError
from schemas.vocab import Vocabulary


class GrammarState(NamedTuple):
    """The position of each row in the grammar."""

    inside: jax.Array  # [B] bool: between <vision> and <eov>
    place: jax.Array  # [B] int32: codes of the current frame so far
    frames: jax.Array  # [B] int32: completed frames
    closing: jax.Array  # [B] int32: index of the next id of </vision>; its length if none is pending
    recent: jax.Array  # [B,M] int32: the last text ids, -1 where there are fewer
    finished: jax.Array  # [B] bool: eos was generated
    least: jax.Array  # [B] int32: new frames that a video has at least
    most: jax.Array  # [B] int32: new frames at most


@dataclass(frozen=True, kw_only=True)
class DocumentGrammar:
    """The grammar of a vocabulary with `frame_tokens` codes per frame.

    Each row has its own least and most number of new frames. It has fewer than the least only if generation stops early
    or the text never opens a video.
    """

    vocabulary: Vocabulary
    frame_tokens: int

    def __post_init__(self) -> None:
        if self.frame_tokens < 1:
            raise ConfigError(f"frame_tokens must be at least 1, got {self.frame_tokens}")

    def start(
        self, prompt: jax.Array, count: jax.Array | None = None, *, least: jax.Array, most: jax.Array
    ) -> GrammarState:
        """Return the state after the first `count` ids (default: all) of `prompt` [B,S] int32.

        A frame counts as new if the prompt does not complete it. An eos in the prompt ends a document or a turn, but
        not what follows.
        """
        batch, vocabulary = prompt.shape[0], self.vocabulary
        zeros, no = jnp.zeros(batch, jnp.int32), jnp.zeros(batch, jnp.bool_)
        kept = max(1, len(vocabulary.begin_vision), len(vocabulary.end_vision))
        closed = jnp.full(batch, len(vocabulary.end_vision), jnp.int32)
        recent = jnp.full((batch, kept), -1, jnp.int32)
        state = GrammarState(no, zeros, zeros, closed, recent, no, least, most)

        def one(n: jax.Array, state: GrammarState) -> GrammarState:
            return self.advance(state, prompt[:, n])

        stop = jnp.int32(prompt.shape[1]) if count is None else count
        state = jax.lax.fori_loop(jnp.int32(0), stop, one, state)
        return state._replace(frames=zeros, finished=no)

    def allowed(self, state: GrammarState) -> jax.Array:
        """Return the mask of allowed next ids, bool [B,V]; every row allows at least one."""
        v = self.vocabulary
        ids = jnp.arange(v.size, dtype=jnp.int32)[None]
        text = (ids < v.text_size) & ~self._completes(state, v.end_vision)
        spent = (state.frames >= state.most)[:, None]
        text &= ~(spent & self._completes(state, v.begin_vision))
        codes = (ids >= v.text_size) & (ids < v.eof)
        more, enough = state.frames < state.most, state.frames >= state.least
        ends = ((ids == v.eof) & more[:, None]) | ((ids == v.eov) & enough[:, None])
        vision = jnp.where((state.place < self.frame_tokens)[:, None], codes, ends)
        marker = jnp.asarray((*v.end_vision, -1), jnp.int32)[state.closing]
        due = state.closing < len(v.end_vision)
        outside = jnp.where(due[:, None], ids == marker[:, None], text)
        following = jnp.where(state.inside[:, None], vision, outside)
        return jnp.where(state.finished[:, None], ids == v.eos_id, following)

    def advance(self, state: GrammarState, tokens: jax.Array) -> GrammarState:
        """Return the state after one more id per row, `tokens` [B] int32."""
        v = self.vocabulary
        code = (tokens >= v.text_size) & (tokens < v.eof)
        place = jnp.where(code & state.inside, state.place + 1, 0)
        completed = state.inside & code & (place == self.frame_tokens)
        recent = jnp.concatenate([state.recent[:, 1:], tokens[:, None]], axis=1)
        recent = jnp.where((tokens < v.text_size)[:, None], recent, -1)
        opens = self._opens(recent)
        ends = tokens == v.eov
        due = state.closing < len(v.end_vision)
        return GrammarState(
            inside=(state.inside & ~ends) | opens,
            place=place,
            frames=state.frames + completed.astype(jnp.int32),
            closing=jnp.where(ends, 0, jnp.where(due, state.closing + 1, state.closing)),
            recent=recent,
            finished=state.finished | (tokens == v.eos_id),
            least=state.least,
            most=state.most,
        )

    def _opens(self, recent: jax.Array) -> jax.Array:
        """Return which rows, bool [B], end with `<vision>`; none if the vocabulary has no ids for it."""
        marker = self.vocabulary.begin_vision
        if not marker:
            return jnp.zeros(recent.shape[0], jnp.bool_)
        return (recent[:, -len(marker) :] == jnp.asarray(marker, jnp.int32)[None]).all(axis=1)

    def _completes(self, state: GrammarState, marker: tuple[int, ...]) -> jax.Array:
        """Return a mask, bool [B,V], of the last id of `marker`, for rows that end with the ids before it."""
        if not marker:
            return jnp.zeros((state.recent.shape[0], self.vocabulary.size), jnp.bool_)
        before = jnp.asarray(marker[:-1], jnp.int32)[None]
        seen = (state.recent[:, state.recent.shape[1] - len(marker) + 1 :] == before).all(axis=1)
        return seen[:, None] & (jnp.arange(self.vocabulary.size, dtype=jnp.int32)[None] == marker[-1])
