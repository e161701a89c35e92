"""The engine: requests in, ids out, several at a time.

A request waits until a row of the batch and enough pages are free. Its prompt is run in blocks, one block a step, and
the rows that are ready are decoded several ids a step, so a long prompt does not hold up the others. What a row has run
is kept for prompts that begin alike: the next turn of a conversation only runs what is new.

    engine = Engine(model)
    replies = engine.generate([Request(prompt=ids, max_tokens=100)])

Not thread-safe: one thread calls `submit`, `step` and `cancel`. See ARCHITECTURE.md for the parts.

Axes: those of `trainer/__init__.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from schemas.errors import ConfigError
from trainer.config import DTYPES, Dtype
from trainer.inference import programs, row_states, rows
from trainer.inference.cache import Cache
from trainer.inference.page_pool import Ids
from trainer.inference.programs import Steps
from trainer.inference.prompt_blocks import PromptBlocks
from trainer.inference.replies import joined, progress
from trainer.inference.requests import Completion, Progress, Request
from trainer.inference.requirements import require_fit, require_length, require_valid, valid_ids
from trainer.inference.rows import Row
from trainer.inference.speed import Moment, Speed
from trainer.model.grammar import DocumentGrammar
from trainer.model.protocol import Decoder, Model


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Sizes that decide about speed and memory, not about results."""

    rows: int = 1  # that are decoded together; a request with guidance takes two
    cache_tokens: int | None = None  # room for this many tokens; None: grows with the requests
    cache_dtype: Dtype | None = None  # of keys and values; None: that of the model
    weight_dtype: Dtype | None = None  # of weights; None: that of the model
    page: int = 128  # tokens of a page
    block: int = 512  # tokens of a prompt that are run together
    stride: int = 8  # ids that are generated between two checks of stop texts and cancellations
    kept_rows: int = 64  # finished rows whose pages are kept while there is room

    def __post_init__(self) -> None:
        for name in ("rows", "page", "block", "stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("cache_dtype", "weight_dtype"):
            if getattr(self, name) not in (None, *DTYPES):
                raise ConfigError(f"{name} must be one of {', '.join(DTYPES)}, got {getattr(self, name)!r}")
        if self.kept_rows < 0 or (self.cache_tokens is not None and self.cache_tokens < 1):
            raise ConfigError(
                "cache_tokens must be at least 1 and kept_rows not negative, "
                f"got {self.cache_tokens} and {self.kept_rows}"
            )


class Engine:
    """Generates with one model; see the module's docstring."""

    def __init__(
        self,
        model: Model,
        *,
        config: EngineConfig | None = None,
        mesh: Mesh | None = None,
        grammar: DocumentGrammar | None = None,
    ) -> None:
        """Place the weights of `model` on `mesh` (data and fsdp must be 1), or on the first device of this process.

        `grammar` is for requests with `frames`. Raises ConfigError if model, mesh and grammar do not fit together.
        """
        require_fit(model, mesh, grammar)
        self.config, self.grammar, self.speed = config or EngineConfig(), grammar, Speed()
        self.decoder: Decoder = model.decoder(mesh, dtype=self.config.weight_dtype)
        self._cache = Cache(
            self.decoder,
            page=self.config.page,
            dtype=self.config.cache_dtype or model.config.dtype,
            most_tokens=self.config.cache_tokens,
            most_kept=self.config.kept_rows,
        )
        self._prompts = PromptBlocks(self.decoder, self._cache, block=self.config.block, speed=self.speed)
        self._state = row_states.no_rows(self.decoder, grammar, count=self.config.rows)
        self._waiting: deque[tuple[int, Request]] = deque()
        self._rows: list[Row] = []  # without those of other prompts, in the order of their requests
        self._next = 0

    @property
    def size(self) -> int:
        """Number of ids of the model."""
        return self.decoder.text_size + self.decoder.vision_size

    @property
    def busy(self) -> bool:
        """Whether requests wait or run."""
        return bool(self._waiting or self._rows)

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values on all devices."""
        return self._cache.nbytes

    def submit(self, request: Request) -> int:
        """Add a request to the queue and return its ticket; raises ConfigError if it can never run."""
        config = self.config
        require_valid(request, self.decoder, self.grammar, rows=config.rows, most_tokens=config.cache_tokens)
        ticket, self._next = self._next, self._next + 1
        self._waiting.append((ticket, request))
        return ticket

    def cancel(self, ticket: int) -> None:
        """End a request, wherever it is; its next progress says so. Unknown tickets have ended."""
        for entry in [w for w in self._waiting if w[0] == ticket]:
            self._waiting.remove(entry)
        for row in [r for r in self._rows if r.ticket == ticket]:
            self._retire(row)

    def step(self) -> list[Progress]:
        """Run one block of a prompt, then some ids of the rows that are ready; return what became of these."""
        self._admit()
        for row in self._rows:
            if not row.ready:
                one = row.other if row.other is not None and not row.other.ready else row
                self._prompts.run(one, stop=len(one.ids) - 1)
                break
        ready = [row for row in self._rows if row.ready]
        return self._decode(ready) if ready else []

    def stream(self, request: Request) -> Generator[Progress]:
        """Yield the progress of one request; the request is cancelled if the caller stops early."""
        ticket = self.submit(request)
        try:
            finished = False
            while not finished:
                for part in self.step():
                    if part.ticket == ticket:
                        finished = part.finished is not None
                        yield part
        finally:
            self.cancel(ticket)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the replies to all requests, in their order."""
        tickets = [self.submit(request) for request in requests]
        found: dict[int, list[Progress]] = {ticket: [] for ticket in tickets}
        while any(not parts or parts[-1].finished is None for parts in found.values()):
            for part in self.step():
                if part.ticket in found:
                    found[part.ticket].append(part)
        return [joined(found[ticket]) for ticket in tickets]

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> NDArray[np.float32]:
        """Return the log-probability of each id of `continuation` after `prompt` and the ids before it.

        Over all ids, or those of its modality if the model is trained so; without grammar. Raises ConfigError if there
        is no room, or no free row's worth of pages.
        """
        ids = valid_ids([*prompt, *continuation], self.decoder)
        if not len(prompt) or not len(continuation):
            raise ConfigError("score needs at least one id of each: prompt and continuation")
        require_length(len(ids), 0, self.decoder, most_tokens=self.config.cache_tokens)
        row = self._new_row(Request(prompt=ids, max_tokens=1), ids=ids, slot=0, ticket=-1, most=len(prompt) - 1)
        if row is None:
            raise ConfigError(f"the cache has no room for {len(ids)} tokens: raise cache_tokens, or end other requests")
        try:
            while row.run < len(prompt) - 1:
                self._prompts.run(row, stop=len(prompt) - 1)
            found: list[NDArray[np.float32]] = []
            while row.run < len(ids) - 1:
                found.append(self._prompts.score(row))
        finally:
            self._cache.pool.keep(ids[: row.run], row.pages)
        return np.concatenate(found)

    def _admit(self) -> None:
        """Give rows and pages to the requests that wait, in their order."""
        while self._waiting:
            ticket, request = self._waiting[0]
            made = self._rows_for(request, ticket=ticket)
            if not made:
                return
            self._waiting.popleft()
            made[0].other = made[1] if len(made) > 1 else None
            for row in made:
                self._state = row_states.with_row(self._state, row, self.decoder, self.grammar)
            self._rows.append(made[0])

    def _rows_for(self, request: Request, *, ticket: int) -> list[Row]:
        """Return a row for each prompt of a request, or none if rows or pages are not free."""
        free = [n for n in range(self.config.rows) if n not in self._slots()]
        prompts = request.prompts
        if len(free) < len(prompts):
            return []
        made: list[Row] = []
        for slot, prompt in zip(free, prompts, strict=False):
            row = self._new_row(request, ids=valid_ids(prompt, self.decoder), slot=slot, ticket=ticket)
            if row is None:
                break
            made.append(row)
        if len(made) == len(prompts):
            return made
        for row in made:
            self._cache.pool.release(row.pages)
        return []

    def _new_row(self, request: Request, *, ids: Ids, slot: int, ticket: int, most: int | None = None) -> Row | None:
        """Return a row with pages for its whole length, or None if they are not free.

        It begins with the kept pages that hold the beginning of `ids`, up to `most` of them.
        """
        known = ids[: len(ids) - 1 if most is None else most]
        reserved = self._cache.reserve(known, tokens=len(ids) + request.max_tokens - 1)
        if reserved is None:
            return None
        self.speed.reused_tokens += reserved.tokens
        self.speed.cache_bytes = self._cache.nbytes
        return Row(ticket, request, slot, ids, reserved.pages, reserved.tokens)

    def _decode(self, ready: list[Row]) -> list[Progress]:
        """Generate some ids for rows that are ready."""
        slots, started = self.config.rows, Moment.now()
        pages: list[list[int]] = [[] for _ in range(slots)]
        for row in ready:
            for one in (row, row.other):
                if one is not None:
                    pages[one.slot] = one.pages
        allowed = rows.allowed_ids(ready, slots=slots, size=self.size)
        asked = [row.request.logprobs for row in ready if row.request.logprobs is not None]
        self._cache.pages, self._state, steps = programs.decode(
            self.decoder,
            self._cache.pages,
            self._state,
            rows.places(ready, slots=slots),
            rows.settings(ready, slots=slots),
            self._cache.pool.table(pages),
            allowed,
            np.int32(1 if allowed is not None else self.config.stride),
            grammar=self.grammar,
            stride=self.config.stride,
            top=max(asked) if asked else None,
        )
        host: Steps = jax.tree.map(np.asarray, steps)
        made = [progress(row, host) for row in ready]
        for row, part in zip(ready, made, strict=True):
            if part.finished is not None:
                self._retire(row)
        self.speed.add_generated(sum(len(one.ids) for one in made), started)
        return made

    def _retire(self, row: Row) -> None:
        """Take a row out of the batch and keep its pages."""
        self._rows.remove(row)
        for one in (row, row.other):
            if one is not None:
                self._cache.pool.keep(one.all_ids[: one.run], one.pages)

    def _slots(self) -> set[int]:
        return {one.slot for row in self._rows for one in (row, row.other) if one is not None}
