"""The key/value cache: the pages on the devices, which of them are free, and how it grows."""

from __future__ import annotations

from typing import NamedTuple

from trainer.attention.paged import Pages, empty_pages
from trainer.config import Dtype
from trainer.inference import programs
from trainer.inference.page_pool import Ids, PagePool
from trainer.inference.programs import rounded_up
from trainer.model.protocol import Decoder


class Reserved(NamedTuple):
    """The pages of a row."""

    pages: list[int]
    tokens: int  # that the pages hold already


class Cache:
    """Pages of `page` tokens for the layers of `decoder`; grows as needed, up to `most_tokens` tokens.

    At most `most_kept` finished rows are kept. Compiled programs take `pages` and return them anew.
    """

    def __init__(self, decoder: Decoder, *, page: int, dtype: Dtype, most_tokens: int | None, most_kept: int) -> None:
        self.devices = 1 if decoder.mesh is None else decoder.mesh.shape["sequence"]
        self.pool = PagePool(devices=self.devices, page=page, most_kept=most_kept)
        self._decoder, self._dtype, self._most_tokens = decoder, dtype, most_tokens
        self.pages = self._empty(0)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values on all devices."""
        return sum(x.nbytes for x in self.pages)

    def reserve(self, ids: Ids, *, tokens: int) -> Reserved | None:
        """Return pages for a row of `tokens` tokens, or None if they are not free.

        The row begins with the kept pages that hold the beginning of `ids`.
        """
        shared = self.pool.longest_common(ids)
        pages = list(shared)
        while not self.pool.extend(pages, tokens):
            if not self._grow(self.pool.missing(len(pages), self.pool.pages_for(tokens))):
                self.pool.release(pages)
                return None
        return Reserved(pages, len(shared) * self.pool.page)

    def _grow(self, missing: int) -> bool:
        """Add at least `missing` pages to every device, if the cache may grow."""
        wanted = rounded_up(self.pool.per_device + missing)
        if self._most_tokens is not None:
            limit = -(-self.pool.pages_for(self._most_tokens) // self.devices)
            if self.pool.per_device + missing > limit:
                return False
            wanted = limit
        if self.pool.per_device:
            self.pages = programs.with_pages(self.pages, self._decoder, per_device=wanted)
        else:
            self.pages = self._empty(wanted)
        self.pool.add_pages(wanted)
        return True

    def _empty(self, per_device: int) -> Pages:
        shape = self._decoder.cache
        return empty_pages(
            layers=shape.layers,
            pages=per_device * self.devices,
            kv_heads=shape.kv_heads,
            page=self.pool.page,
            head_dim=shape.head_dim,
            dtype=self._dtype,
            mesh=self._decoder.mesh,
        )
