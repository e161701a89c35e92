"""Loads packed shards into batches that are sharded over the mesh.

    Window           the rows and columns of the global batch that the devices of this process hold
    Loader           indices [B] -> this process's part of the batch, in the order of the layout
    Placement        assembles the global arrays from the parts of all processes
    training_batches, held_out_batches
                     Grain iterators over the batches of a loader

The sequences of a batch are a function of its number (`order.py`), so seeking is O(1) and the state of the iterator is
that number.

If the devices of a process hold all columns of a row, the process reads the sample with one `pread`. If they hold only
some columns (sequence parallelism over several hosts), it reads the two headers, the token ranges that the layout
assigns to it (each with one extra token, for the targets) and the spans, which are small; it expands only these ranges.
From an object store, the rows of a batch are read at the same time, and more batches ahead, since the delay of a
request is much longer than its transfer.

A sequence whose bytes are damaged ends the run with its name, or is replaced by padding with `skip_damaged`, which
leaves the order of all other sequences as it is.

Axes: B batch, S sequence (in the order of the layout), M spans. All batch arrays are [B, S]:

    tokens, targets   int32     targets[i] is the token after tokens[i]; its id determines its modality
    weights           float32   weight of the target in the loss; 0 at the end of a document and for padding
    segment_ids       int32     0 for padding
    positions         int32     from 0 in every document
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from numpy.typing import NDArray

from schemas.errors import DamagedSequence
from schemas.packed import expand
from trainer.data.layout import Layout, permutation, stripe_width
from trainer.data.shards import PackedSplit
from trainer.divisibility import require_context, require_rows
from trainer.mesh import batch_sharding

Batch = dict[str, Any]  # name -> array [B, S]; see the module docstring

BATCH_TYPES = {
    "tokens": np.int32,
    "targets": np.int32,
    "weights": np.float32,
    "segment_ids": np.int32,
    "positions": np.int32,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """The part of the global batch that one process holds: sorted rows [b] and columns [s], in layout order."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, sharding: Sharding, shape: tuple[int, int]) -> Window:
        """Return the window of this process's devices for an array of `shape` (B, S)."""
        rows, columns = zip(*sharding.addressable_devices_indices_map(shape).values(), strict=True)
        return cls(rows=_union(rows, shape[0]), columns=_union(columns, shape[1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """How batches of one shape are distributed over a mesh, and which part of them this process loads."""

    shape: tuple[int, int]  # B, S
    sharding: NamedSharding
    order: NDArray[np.int64]  # [S], see `layout.permutation`

    @classmethod
    def of(cls, mesh: Mesh, shape: tuple[int, int], *, layout: Layout, tile: int) -> Placement:
        """Distribute batches of `shape` over `mesh`; a stripe is at most as wide as attention's `tile`.

        Raises ConfigError if the mesh does not divide the batch, or if tiles do not divide a device's part of a row.
        """
        require_rows(shape[0], mesh.shape)
        require_context(shape[1], mesh.shape, tile=tile)
        devices = mesh.shape["sequence"]
        stripe = stripe_width(length=shape[1], devices=devices, tile=tile)
        order = permutation(layout, length=shape[1], devices=devices, stripe=stripe)
        return cls(shape=shape, sharding=batch_sharding(mesh), order=order)

    @cached_property
    def window(self) -> Window:
        """The part of a batch that this process loads."""
        return Window.of(self.sharding, self.shape)

    def loader(self, split: PackedSplit, *, skip_damaged: bool = False) -> Loader:
        """Return the loader of this process's part of a batch."""
        return Loader(split, order=self.order, window=self.window, skip_damaged=skip_damaged)

    def place(self, batch: Batch) -> dict[str, jax.Array]:
        """Assemble the global arrays [B, S] from this process's part; every process calls this with its own."""
        return {name: self._place(local) for name, local in batch.items()}

    def _place(self, local: NDArray[Any]) -> jax.Array:
        def block(index: tuple[slice, ...] | None) -> NDArray[Any]:
            rows, columns = index or (slice(None), slice(None))
            held = self.window
            return local[_inside(rows, held.rows, self.shape[0]), _inside(columns, held.columns, self.shape[1])]

        return jax.make_array_from_callback(self.shape, self.sharding, block)


class Loader:
    """Loads this process's part of a batch in layout order; see the module docstring for the arrays.

    `damaged` has the error of each sequence that was replaced by padding, by index.
    """

    def __init__(
        self, split: PackedSplit, *, order: NDArray[np.int64], window: Window, skip_damaged: bool = False
    ) -> None:
        self._split, self._window, self._skip_damaged = split, window, skip_damaged
        self.damaged: dict[int, DamagedSequence] = {}
        places = order[window.columns]
        needed = np.zeros(split.context_length + 1, np.bool_)
        needed[places] = True
        needed[places + 1] = True  # the targets
        needed = needed[:-1]
        edges = np.flatnonzero(np.diff(needed, prepend=False, append=False))
        self._ranges = None if needed.all() else edges.reshape(-1, 2)
        self._places = (np.cumsum(needed) - 1)[places]  # among those in the ranges
        self._pool = ThreadPoolExecutor(_REMOTE_ROWS, thread_name_prefix="longreel-rows") if split.is_remote else None

    def resized(self, window: Window) -> Self:
        """Return a loader of batches of another size, whose window has the same columns; `damaged` is shared."""
        other = copy.copy(self)
        other._window = window
        return other

    @property
    def read_options(self) -> grain.ReadOptions:
        """How many batches Grain reads ahead."""
        if self._pool is None:
            return _READ
        ahead = max(_READ.prefetch_buffer_size, _REMOTE_ROWS // max(1, len(self._window.rows)))
        return grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)

    def __call__(self, indices: NDArray[np.int64]) -> Batch:
        """Return arrays [b, s] for the sequences `indices` [B] of the global batch; an index of -1 gives padding.

        Only the rows and columns of the window are loaded. Raises DamagedSequence, unless damaged sequences are
        skipped.
        """
        wanted = np.asarray(indices)[self._window.rows].tolist()
        rows = list(map(self._row, wanted) if self._pool is None else self._pool.map(self._row, wanted))
        return {name: np.stack([row[name] for row in rows]) for name in BATCH_TYPES}

    def _row(self, index: int) -> Mapping[str, NDArray[Any]]:
        if index >= 0:
            try:
                return self._read(index)
            except DamagedSequence as e:
                if not self._skip_damaged:
                    raise
                self.damaged[index] = e
        return {name: np.zeros(len(self._places), dtype) for name, dtype in BATCH_TYPES.items()}

    def _read(self, index: int) -> Mapping[str, NDArray[Any]]:
        tokens, spans = self._split.read(index, ranges=self._ranges)
        inputs = expand(spans, self._split.context_length, attention=self._split.attention, ranges=self._ranges)
        here = self._places
        return {
            "tokens": tokens[here].astype(np.int32),
            "targets": _next(tokens, here).astype(np.int32),
            "weights": _next(inputs.weights, here),
            "segment_ids": inputs.segment_ids[here],
            "positions": inputs.positions[here],
        }


def training_batches(
    load: Callable[[NDArray[np.int64]], Batch],
    sequences: Callable[[int], NDArray[np.int64]],
    *,
    read: grain.ReadOptions | None = None,
) -> grain.DatasetIterator[Batch]:
    """Return an infinite iterator over the batches 0, 1, …, of which `sequences` returns the indices [B].

    `load` is a loader; `read` says how many batches are read ahead: `Loader.read_options` for the shards of a loader.
    `get_state` and `set_state` take O(1) and restore the exact batch.
    """
    batches = grain.MapDataset.range(_MOST_BATCHES).map(lambda number: load(sequences(number)))
    return iter(batches.to_iter_dataset(read or _READ))


def held_out_batches(
    loader: Loader, *, indices: NDArray[np.int64], batch_size: int, read: grain.ReadOptions | None = None
) -> grain.DatasetIterator[Batch]:
    """Return an iterator over `indices` in order; the last batch is completed with rows of padding."""
    padded = np.full(-(-len(indices) // batch_size) * batch_size, -1, np.int64)
    padded[: len(indices)] = indices
    groups = padded.reshape(-1, batch_size)
    return iter(
        grain.MapDataset.range(len(groups)).map(lambda i: loader(groups[i])).to_iter_dataset(loader.read_options)
    )


_MOST_BATCHES = 1 << 52  # per run

_REMOTE_ROWS = 16  # that are read at the same time from an object store

# Prefetching two batches hides the reading behind the step; more would only use memory.
_READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)


def _next(values: NDArray[Any], here: NDArray[np.int64]) -> NDArray[Any]:
    """Return `values[here + 1]`, with 0 behind the last."""
    return np.append(values, values.dtype.type(0))[here + 1]


def _union(slices: Sequence[slice], length: int) -> NDArray[np.int64]:
    covered = np.zeros(length, np.bool_)
    for s in slices:
        covered[s] = True
    return np.flatnonzero(covered)


def _inside(global_slice: slice, held: NDArray[np.int64], length: int) -> slice:
    """Return the range of the sorted indices `held` that a slice of the global axis covers; all of it is held."""
    start, stop, _ = global_slice.indices(length)
    first = int(np.searchsorted(held, start))
    return slice(first, first + stop - start)
