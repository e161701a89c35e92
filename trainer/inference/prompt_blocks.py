"""Prompts are run in blocks of a few lengths, so that few programs are compiled."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import NDArray

from trainer.inference import programs
from trainer.inference.cache import Cache
from trainer.inference.rows import Row
from trainer.inference.speed import Moment, Speed
from trainer.model.protocol import Decoder


class PromptBlocks:
    """Runs blocks of at most about `block` tokens into `cache`, and adds their time to `speed`."""

    def __init__(self, decoder: Decoder, cache: Cache, *, block: int, speed: Speed) -> None:
        self._decoder, self._cache, self._speed = decoder, cache, speed
        self._lengths = block_lengths(block, cache.devices)

    def run(self, row: Row, *, stop: int) -> None:
        """Run the next block of the row's ids, which ends before id `stop`."""
        started, count, block = Moment.now(), *self._block(row, stop)
        self._cache.pages = programs.run_block(self._decoder, self._cache.pages, *block)
        jax.block_until_ready(self._cache.pages)
        row.run += count
        self._speed.add_prompt(count, started)

    def score(self, row: Row) -> NDArray[np.float32]:
        """Run the next block; return the log-probability of the id after each of its ids."""
        started, count, block = Moment.now(), *self._block(row, len(row.ids) - 1)
        targets = np.zeros(block[1].shape, np.int32)
        targets[0, :count] = row.ids[row.run + 1 :][:count]
        self._cache.pages, found = programs.score_block(self._decoder, self._cache.pages, *block, targets)
        row.run += count
        values = np.asarray(found)[0, :count]
        self._speed.add_prompt(count, started)
        return values

    def _block(self, row: Row, stop: int) -> tuple[int, tuple[NDArray[np.int32], ...]]:
        """Return the number of ids of the next block, and its tables, ids and positions."""
        left = stop - row.run
        length = next((n for n in self._lengths if n >= left), self._lengths[-1])
        count = min(left, length)
        tokens, positions = np.zeros((1, length), np.int32), np.full((1, length), -1, np.int32)
        tokens[0, :count] = row.ids[row.run :][:count]
        positions[0, :count] = np.arange(row.run, row.run + count)
        return count, (self._cache.pool.table([row.pages]), tokens, positions)


def block_lengths(block: int, devices: int) -> list[int]:
    """Return the lengths of blocks, ascending: few, as each is compiled, and multiples of the devices."""
    smallest = -(-16 // devices) * devices
    lengths = [smallest]
    while lengths[-1] * 4 < block:
        lengths.append(lengths[-1] * 4)
    return lengths if block <= smallest else [*lengths, -(-block // smallest) * smallest]
