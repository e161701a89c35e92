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

import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from schemas.errors import ConfigError
from trainer.attention.paged import Pages, empty_pages
from trainer.config import DTYPES, Dtype
from trainer.inference import programs, rows
from trainer.inference.page_pool import PagePool
from trainer.inference.programs import RowState, Steps
from trainer.inference.requests import Completion, FinishReason, Progress, Request, TokenLogprob
from trainer.inference.rows import Row
from trainer.inference.speed import Speed
from trainer.inference.stopping import ending
from trainer.model.grammar import DocumentGrammar
from trainer.model.protocol import Decoder, Model


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Sizes that decide about speed and memory, not about results."""

    rows: int = 1  # that are decoded together; a request with guidance takes two
    cache_tokens: int | None = None  # room for this many tokens; None: grows with the requests
    cache_dtype: Dtype | None = None  # of keys and values; None: that of the model
    page: int = 128  # tokens of a page
    block: int = 512  # tokens of a prompt that are run together
    stride: int = 8  # ids that are generated between two checks of stop texts and cancellations
    kept_rows: int = 64  # finished rows whose pages are kept while there is room

    def __post_init__(self) -> None:
        for name in ("rows", "page", "block", "stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.cache_dtype not in (None, *DTYPES):
            raise ConfigError(f"cache_dtype must be one of {', '.join(DTYPES)}, got {self.cache_dtype!r}")
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
        _require_fit(model, mesh, grammar)
        self.config, self.grammar, self.speed = config or EngineConfig(), grammar, Speed()
        self.decoder: Decoder = model.decoder(mesh)
        self._devices = 1 if mesh is None else mesh.shape["sequence"]
        self._lengths = _block_lengths(self.config.block, self._devices)
        self._pool = PagePool(devices=self._devices, page=self.config.page, most_kept=self.config.kept_rows)
        self._pages = self._empty(0)
        self._state = self._empty_state()
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
        return sum(x.nbytes for x in self._pages)

    def submit(self, request: Request) -> int:
        """Add a request to the queue and return its ticket; raises ConfigError if it can never run."""
        self._require_valid(request)
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
                self._run_prompt(row)
                break
        ready = [row for row in self._rows if row.ready]
        return self._decode(ready) if ready else []

    def stream(self, request: Request) -> Generator[Progress]:
        """Yield the progress of one request; the request is cancelled if the caller stops early."""
        ticket = self.submit(request)
        try:
            finished = False
            while not finished:
                for progress in self.step():
                    if progress.ticket == ticket:
                        finished = progress.finished is not None
                        yield progress
        finally:
            self.cancel(ticket)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the replies to all requests, in their order."""
        tickets = [self.submit(request) for request in requests]
        found: dict[int, list[Progress]] = {ticket: [] for ticket in tickets}
        while any(not parts or parts[-1].finished is None for parts in found.values()):
            for progress in self.step():
                if progress.ticket in found:
                    found[progress.ticket].append(progress)
        return [_joined(found[ticket]) for ticket in tickets]

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> NDArray[np.float32]:
        """Return the log-probability of each id of `continuation` after `prompt` and the ids before it.

        Over all ids, without grammar. Raises ConfigError if there is no room, or no free row's worth of pages.
        """
        ids = self._ids([*prompt, *continuation])
        if not len(prompt) or not len(continuation):
            raise ConfigError("score needs at least one id of each: prompt and continuation")
        self._require_length(len(ids))
        row = self._new_row(Request(prompt=ids, max_tokens=1), ids=ids, slot=0, ticket=-1, most=len(prompt) - 1)
        if row is None:
            raise ConfigError(f"the cache has no room for {len(ids)} tokens: raise cache_tokens, or end other requests")
        try:
            while row.run < len(prompt) - 1:
                self._run_block(row, stop=len(prompt) - 1)
            found: list[NDArray[np.float32]] = []
            while row.run < len(ids) - 1:
                found.append(self._score_block(row))
        finally:
            self._pool.keep(ids[: row.run], row.pages)
        return np.concatenate(found)

    def _admit(self) -> None:
        """Give rows and pages to the requests that wait, in their order."""
        while self._waiting:
            ticket, request = self._waiting[0]
            free = [n for n in range(self.config.rows) if n not in self._slots()]
            prompts = [request.prompt] + ([request.guidance.prompt] if request.guidance else [])
            if len(free) < len(prompts):
                return
            made: list[Row] = []
            for slot, prompt in zip(free, prompts, strict=False):
                row = self._new_row(request, ids=self._ids(prompt), slot=slot, ticket=ticket)
                if row is None:
                    for earlier in made:
                        self._pool.release(earlier.pages)
                    return
                made.append(row)
            self._waiting.popleft()
            made[0].other = made[1] if len(made) > 1 else None
            for row in made:
                self._remember(row)
            self._rows.append(made[0])

    def _new_row(
        self, request: Request, *, ids: NDArray[np.int32], slot: int, ticket: int, most: int | None = None
    ) -> Row | None:
        """Return a row with pages for its whole length, or None if they are not free.

        It begins with the kept pages that hold the beginning of `ids`, up to `most` of them.
        """
        shared = self._pool.longest_common(ids[: len(ids) - 1 if most is None else most])
        pages, tokens = list(shared), len(ids) + request.max_tokens - 1
        while not self._pool.extend(pages, tokens):
            if not self._grow(self._pool.missing(len(pages), self._pool.pages_for(tokens))):
                self._pool.release(pages)
                return None
        run = len(shared) * self.config.page
        self.speed.reused_tokens += run
        return Row(ticket, request, slot, ids, pages, run)

    def _grow(self, missing: int) -> bool:
        """Add at least `missing` pages to every device, if the cache may grow."""
        wanted = _round_up(self._pool.per_device + missing)
        if self.config.cache_tokens is not None:
            limit = -(-self._pool.pages_for(self.config.cache_tokens) // self._devices)
            if self._pool.per_device + missing > limit:
                return False
            wanted = limit
        if self._pool.per_device:
            self._pages = programs.with_pages(self._pages, self.decoder, per_device=wanted)
        else:
            self._pages = self._empty(wanted)
        self._pool.add_pages(wanted)
        self.speed.cache_bytes = self.cache_bytes
        return True

    def _remember(self, row: Row) -> None:
        """Set the state of a new row's slot."""
        seen = np.zeros((1, self.size), np.bool_)
        seen[0, row.ids] = True
        state = None
        if self.grammar is not None:
            padded = np.zeros((1, _round_up(len(row.ids))), np.int32)
            padded[0, : len(row.ids)] = row.ids
            frames = row.request.frames
            limits = [np.full(1, n, np.int32) for n in ((frames.least, frames.most) if frames else (0, 0))]
            state = programs.grammar_state(
                self.grammar, padded, np.int32(len(row.ids)), least=limits[0], most=limits[1]
            )
        new = programs.replicated(RowState(seen, state), self.decoder)  # type: ignore[arg-type]
        self._state = programs.admit(self._state, np.int32(row.slot), new)

    def _run_prompt(self, row: Row) -> None:
        """Run the next block of a row's prompt, or of its other prompt."""
        one = row.other if row.other is not None and not row.other.ready else row
        self._run_block(one, stop=len(one.ids) - 1)

    def _run_block(self, row: Row, *, stop: int) -> None:
        started, count, block = time.perf_counter(), *self._block(row, stop)
        self._pages = programs.run_block(self.decoder, self._pages, *block)
        jax.block_until_ready(self._pages)
        row.run += count
        self.speed.add_prompt(count, time.perf_counter() - started)

    def _score_block(self, row: Row) -> NDArray[np.float32]:
        started, count, block = time.perf_counter(), *self._block(row, len(row.ids) - 1)
        targets = np.zeros(block[1].shape, np.int32)
        targets[0, :count] = row.ids[row.run + 1 :][:count]
        self._pages, found = programs.score_block(self.decoder, self._pages, *block, targets)
        row.run += count
        values = np.asarray(found)[0, :count]
        self.speed.add_prompt(count, time.perf_counter() - started)
        return values

    def _block(self, row: Row, stop: int) -> tuple[int, tuple[NDArray[np.int32], ...]]:
        """Return the number of ids of the next block, and its tables, ids and positions."""
        left = stop - row.run
        length = next((n for n in self._lengths if n >= left), self._lengths[-1])
        count = min(left, length)
        tokens, positions = np.zeros((1, length), np.int32), np.full((1, length), -1, np.int32)
        tokens[0, :count] = row.ids[row.run :][:count]
        positions[0, :count] = np.arange(row.run, row.run + count)
        return count, (self._pool.table([row.pages]), tokens, positions)

    def _decode(self, ready: list[Row]) -> list[Progress]:
        """Generate some ids for rows that are ready."""
        slots, started = self.config.rows, time.perf_counter()
        pages: list[list[int]] = [[] for _ in range(slots)]
        for row in ready:
            for one in (row, row.other):
                if one is not None:
                    pages[one.slot] = one.pages
        allowed = rows.allowed_ids(ready, slots=slots, size=self.size)
        asked = [row.request.logprobs for row in ready if row.request.logprobs is not None]
        self._pages, self._state, steps = programs.decode(
            self.decoder,
            self._pages,
            self._state,
            rows.places(ready, slots=slots),
            rows.settings(ready, slots=slots),
            self._pool.table(pages),
            allowed,
            np.int32(1 if allowed is not None else self.config.stride),
            grammar=self.grammar,
            stride=self.config.stride,
            top=max(asked) if asked else None,
        )
        host: Steps = jax.tree.map(np.asarray, steps)
        made = [self._progress(row, host) for row in ready]
        self.speed.add_generated(sum(len(one.ids) for one in made), time.perf_counter() - started)
        return made

    def _progress(self, row: Row, steps: Steps) -> Progress:
        """Add what a row generated, and retire it if it ends."""
        new = [int(token) for token in steps.ids[row.slot] if token >= 0]
        ids, finished, by = ending(row.new, new, row.request.stop, remaining=row.remaining)
        row.append(ids)
        found = _logprobs(steps, row, ids)
        if finished is not None:
            self._retire(row)
        return Progress(ticket=row.ticket, ids=tuple(ids), logprobs=found, finished=finished, stopped_by=by)

    def _retire(self, row: Row) -> None:
        """Take a row out of the batch and keep its pages."""
        self._rows.remove(row)
        for one in (row, row.other):
            if one is not None:
                self._pool.keep(one.all_ids[: one.run], one.pages)

    def _slots(self) -> set[int]:
        return {one.slot for row in self._rows for one in (row, row.other) if one is not None}

    def _require_valid(self, request: Request) -> None:
        needed = 2 if request.guidance else 1
        if needed > self.config.rows:
            raise ConfigError(f"guidance takes two rows of the batch, the engine has {self.config.rows}: set rows = 2")
        if request.frames is not None and self.grammar is None:
            raise ConfigError("a request with frames needs an engine with a document grammar, this one has none")
        if request.frames is None and self.decoder.config.softmax == "by_modality":
            raise ConfigError(
                "the model was trained with softmax by_modality, which does not predict whether text or vision comes "
                "next: give the request frames, so that the document grammar decides it"
            )
        for prompt in [request.prompt, *([request.guidance.prompt] if request.guidance else [])]:
            self._require_length(len(self._ids(prompt)), request.max_tokens)

    def _require_length(self, prompt: int, new: int = 0) -> None:
        most, name = self.decoder.config.max_positions, "the model's max_positions is"
        room = self.config.cache_tokens
        if room is not None and room < most:
            most, name = room, "the engine's cache_tokens is"
        if prompt + new > most:
            advice = f"at most {most - prompt} new ones" if prompt < most else "a shorter prompt"
            raise ConfigError(
                f"the prompt has {prompt} tokens and {new} new ones are asked for, but {name} {most}: use {advice}"
            )

    def _ids(self, prompt: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int32]:
        ids = np.asarray(prompt, np.int64)
        if ids.ndim != 1 or ids.min() < 0 or ids.max() >= self.size:
            worst = ids.flat[np.argmax((ids.ravel() < 0) | (ids.ravel() >= self.size))]
            raise ConfigError(f"prompts must be lists of ids in 0..{self.size - 1}, got {worst} in shape {ids.shape}")
        return ids.astype(np.int32)

    def _empty(self, per_device: int) -> Pages:
        shape, dtype = self.decoder.cache, self.config.cache_dtype or self.decoder.config.dtype
        return empty_pages(
            layers=shape.layers,
            pages=per_device * self._devices,
            kv_heads=shape.kv_heads,
            page=self.config.page,
            head_dim=shape.head_dim,
            dtype=dtype,
            mesh=self.decoder.mesh,
        )

    def _empty_state(self) -> RowState:
        count, state = self.config.rows, None
        if self.grammar is not None:
            zeros = jnp.zeros(count, jnp.int32)
            state = self.grammar.start(jnp.zeros((count, 1), jnp.int32), jnp.int32(0), least=zeros, most=zeros)
        made: RowState = programs.replicated(RowState(jnp.zeros((count, self.size), jnp.bool_), state), self.decoder)
        return made


def _joined(parts: Sequence[Progress]) -> Completion:
    last = parts[-1]
    finished: FinishReason = last.finished or "cancelled"
    ids = tuple(token for part in parts for token in part.ids)
    found = tuple(one for part in parts for one in part.logprobs)
    return Completion(ids=ids, finished=finished, stopped_by=last.stopped_by, logprobs=found)


def _logprobs(steps: Steps, row: Row, ids: Sequence[int]) -> tuple[TokenLogprob, ...]:
    if steps.alternatives is None or row.request.logprobs is None:
        return ()
    chosen, others, values = (x[row.slot] for x in steps.alternatives)
    count = row.request.logprobs

    def one(n: int, token: int) -> TokenLogprob:
        pairs = zip(others[n, :count].tolist(), values[n, :count].tolist(), strict=True)
        return TokenLogprob(id=token, logprob=float(chosen[n]), alternatives=tuple(pairs))

    return tuple(one(n, token) for n, token in enumerate(ids))


def _block_lengths(block: int, devices: int) -> list[int]:
    """Return the lengths of blocks, ascending: few, as each is compiled, and multiples of the devices."""
    smallest = -(-16 // devices) * devices
    lengths = [smallest]
    while lengths[-1] * 4 < block:
        lengths.append(lengths[-1] * 4)
    return lengths if block <= smallest else [*lengths, -(-block // smallest) * smallest]


def _round_up(number: int) -> int:
    """Round up to a power of two or the middle of two, so that few sizes are compiled."""
    power = 1 << max(number - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and number <= power * 3 // 4 else power


def _require_fit(model: Model, mesh: Mesh | None, grammar: DocumentGrammar | None) -> None:
    if mesh is not None:
        if mesh.shape["data"] * mesh.shape["fsdp"] > 1:
            raise ConfigError("the mesh axes data and fsdp must be 1 to generate; use tensor and sequence")
        model.config.require_mesh(mesh.shape)
    if grammar is None:
        return
    sizes = (grammar.vocabulary.text_size, grammar.vocabulary.vision_size)
    if sizes != (model.text_size, model.vision_size):
        raise ConfigError(
            f"the grammar is for {sizes[0]} text and {sizes[1]} vision ids, "
            f"the model has {model.text_size} and {model.vision_size}"
        )
