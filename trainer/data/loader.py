"""Loading: from packed shards to batches that lie on the devices that need them.

    Window           the rows and columns of the global batch that this process' devices hold
    Loader           indices [B] -> this process' part of the batch, laid out
    Placement        makes the global arrays of all processes' parts, where they belong on the mesh
    training_batches, held_out_batches
                     Grain iterators over what a loader makes

A sequence is addressed by (epoch, index) through a seeded permutation that Grain evaluates at one point: seeking is
O(1), and the state of the iterator is one number. Every epoch has a permutation of its own.

What a process reads: where its devices hold all columns of a row, the sample in one `pread`; where they hold only a
part (sequence parallelism over several hosts), the two headers, the runs of tokens that the layout deals to it (each
with one token more, for the targets), and the spans, which are small; only these runs are expanded. Shards are files on
a mounted file system; object storage is not read directly.

Axes: B batch, S sequence (laid out), M spans. Batch arrays are all [B, S]:

    tokens, targets   int32     targets[i] is the token after tokens[i]; its id says whether it is text or vision
    weights           float32   of the target in the loss; 0 across documents and for padding
    segment_ids       int32     0 for padding
    positions         int32     from 0 in every document
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from numpy.typing import NDArray

from schemas.packed import expand
from trainer.data.layout import Layout, permutation, stripe_width
from trainer.data.shards import PackedSplit
from trainer.divisibility import require_context, require_rows
from trainer.mesh import batch_sharding

Batch = dict[str, Any]  # name -> array [B, S]; see the module's docstring

BATCH_TYPES = {
    "tokens": np.int32,
    "targets": np.int32,
    "weights": np.float32,
    "segment_ids": np.int32,
    "positions": np.int32,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """The part of the global batch that one process holds: sorted rows [b] and, in the laid-out order, columns [s]."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, sharding: Sharding, shape: tuple[int, int]) -> Window:
        """Return the window of this process' devices on an array of `shape` (B, S)."""
        rows, columns = zip(*sharding.addressable_devices_indices_map(shape).values(), strict=True)
        return cls(rows=_union(rows, shape[0]), columns=_union(columns, shape[1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """How batches of one shape lie on a mesh: where each token goes, and what of it this process makes."""

    shape: tuple[int, int]  # B, S
    sharding: NamedSharding
    order: NDArray[np.int64]  # [S], see `layout.permutation`

    @classmethod
    def of(cls, mesh: Mesh, shape: tuple[int, int], *, layout: Layout, tile: int) -> Placement:
        """Place batches of `shape` on `mesh`; stripes are as wide as attention's `tile`, or as a device's share allows.

        Raises ConfigError where the mesh does not divide the batch, or tiles do not divide a device's part of a row.
        """
        require_rows(shape[0], mesh.shape)
        require_context(shape[1], mesh.shape, tile=tile)
        devices = mesh.shape["sequence"]
        stripe = stripe_width(length=shape[1], devices=devices, tile=tile)
        order = permutation(layout, length=shape[1], devices=devices, stripe=stripe)
        return cls(shape=shape, sharding=batch_sharding(mesh), order=order)

    @cached_property
    def window(self) -> Window:
        """The part of a batch that this process makes."""
        return Window.of(self.sharding, self.shape)

    def loader(self, split: PackedSplit) -> Loader:
        """Return what makes this process' part of a batch."""
        return Loader(split, order=self.order, window=self.window)

    def place(self, batch: Batch) -> dict[str, jax.Array]:
        """Make the global arrays [B, S], of which every process holds its window."""
        return {name: self._place(local) for name, local in batch.items()}

    def _place(self, local: NDArray[Any]) -> jax.Array:
        def block(index: tuple[slice, ...] | None) -> NDArray[Any]:
            rows, columns = index or (slice(None), slice(None))
            held = self.window
            return local[_inside(rows, held.rows, self.shape[0]), _inside(columns, held.columns, self.shape[1])]

        return jax.make_array_from_callback(self.shape, self.sharding, block)


class Loader:
    """Makes this process' part of a batch, laid out; see the module's docstring for the arrays."""

    def __init__(self, split: PackedSplit, *, order: NDArray[np.int64], window: Window) -> None:
        self._split, self._window = split, window
        places = order[window.columns]
        needed = np.zeros(split.context_length + 1, np.bool_)
        needed[places] = True
        needed[places + 1] = True  # the targets
        needed = needed[:-1]
        edges = np.flatnonzero(np.diff(needed, prepend=False, append=False))
        self._ranges = None if needed.all() else edges.reshape(-1, 2)
        self._places = (np.cumsum(needed) - 1)[places]  # among those in the ranges

    def __call__(self, indices: NDArray[np.int64]) -> Batch:
        """Return arrays [b, s] for the sequences `indices` [B] of the global batch; an index of -1 is a row of padding.

        Only the rows and columns of the window are made.
        """
        rows = [self._row(int(index)) for index in np.asarray(indices)[self._window.rows]]
        return {name: np.stack([row[name] for row in rows]) for name in BATCH_TYPES}

    def _row(self, index: int) -> Mapping[str, NDArray[Any]]:
        if index < 0:
            return {name: np.zeros(len(self._places), dtype) for name, dtype in BATCH_TYPES.items()}
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


def training_batches(loader: Loader, *, sequences: int, batch_size: int, seed: int) -> grain.DatasetIterator[Batch]:
    """Return an endless iterator over batches of shuffled sequences; every epoch is shuffled anew.

    A batch may span the end of an epoch. `get_state`/`set_state` move it in O(1), to the batch.
    """
    epochs = _MOST_SEQUENCES // sequences  # without a number, Grain's batches of one overflow its own length
    plan = grain.MapDataset.range(sequences).shuffle(seed).repeat(epochs).batch(batch_size)
    return iter(plan.map(loader).to_iter_dataset(_READ))


def held_out_batches(loader: Loader, *, indices: NDArray[np.int64], batch_size: int) -> grain.DatasetIterator[Batch]:
    """Return an iterator over `indices` in order; the last batch is filled up with rows of padding."""
    padded = np.full(-(-len(indices) // batch_size) * batch_size, -1, np.int64)
    padded[: len(indices)] = indices
    groups = padded.reshape(-1, batch_size)
    return iter(grain.MapDataset.range(len(groups)).map(lambda i: loader(groups[i])).to_iter_dataset(_READ))


_MOST_SEQUENCES = 1 << 52  # read in a run; Grain divides in float64, which is exact up to here

# Two batches ahead hide the reading behind the step; more would only hold memory.
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
    """Return where a slice of the global axis lies among the sorted places `held`, which contain all of it."""
    start, stop, _ = global_slice.indices(length)
    first = int(np.searchsorted(held, start))
    return slice(first, first + stop - start)
