"""Batches on the devices: the next one is transferred while a step computes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grain
import jax

from trainer.data.loader import Batch, Placement


class DeviceBatches:
    """The batches of an iterator, placed on the mesh one ahead of their use.

    `position` is the state of the iterator after the batches that were taken; that of the batch ahead is not in it.
    """

    def __init__(self, batches: grain.DatasetIterator[Batch], placements: Mapping[int, Placement]) -> None:
        """Place the batches by `placements`, which has one for each batch size."""
        self._batches, self._placements = batches, placements
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="longreel-batch")
        self._ahead: Future[tuple[dict[str, jax.Array], Any]] | None = None
        self.position = batches.get_state()

    def seek(self, position: Any) -> None:
        """Continue at a position, before the first batch is taken."""
        self._batches.set_state(position)
        self.position = position

    def next(self, *, last: bool = False) -> dict[str, jax.Array]:
        """Return the next batch [B,S] and begin with the one after it, unless this is the `last`.

        An error of the loader is raised when its batch is taken.
        """
        batch, self.position = (self._ahead or self._pool.submit(self._load)).result()
        self._ahead = None if last else self._pool.submit(self._load)
        return batch

    def close(self) -> None:
        """Stop the threads that read ahead."""
        self._pool.shutdown(cancel_futures=True)
        self._batches.close()

    def _load(self) -> tuple[dict[str, jax.Array], Any]:
        batch = next(self._batches)
        rows = {size: len(place.window.rows) for size, place in self._placements.items()}
        placement = next(self._placements[size] for size, count in rows.items() if count == len(batch["tokens"]))
        return placement.place(batch), self._batches.get_state()
