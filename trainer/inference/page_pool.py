"""Which pages of the cache belong to which row, and which rows of the past are kept for prompts that begin like them.

Page j of a row is one of the pages of device j mod n, which are numbered from 0 on every device. A page may belong to
several rows, and to kept ones: it is free when none has it. Only whole pages are shared, since a row writes to the last
one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class _Kept:
    ids: Ids  # all of them are in the pages
    pages: list[int]


class PagePool:
    """The pages of `devices` devices, `per_device` on each, `page` tokens long. Keeps at most `most_kept` rows."""

    def __init__(self, *, devices: int, page: int, most_kept: int) -> None:
        self.devices, self.page, self.per_device = devices, page, 0
        self._most_kept = most_kept
        self._uses: list[list[int]] = [[] for _ in range(devices)]  # rows that have a page, by device
        self._free: list[list[int]] = [[] for _ in range(devices)]
        self._kept: OrderedDict[int, _Kept] = OrderedDict()  # oldest use first
        self._next = 0

    def pages_for(self, tokens: int) -> int:
        """Return the number of pages that `tokens` tokens take."""
        return -(-tokens // self.page)

    def add_pages(self, per_device: int) -> None:
        """Grow to `per_device` pages on each device."""
        new = list(range(self.per_device, per_device))
        for uses, free in zip(self._uses, self._free, strict=True):
            uses.extend(0 for _ in new)
            free.extend(reversed(new))
        self.per_device = per_device

    def longest_common(self, ids: Ids) -> list[int]:
        """Return the pages that begin like `ids`, of the kept row with the longest common prefix, and hold them."""
        best, pages = 0, list[int]()
        for name, kept in self._kept.items():
            if (common := common_prefix(kept.ids, ids)) // self.page > best:
                best, pages, used = common // self.page, kept.pages, name
        if best:
            self._kept.move_to_end(used)
        self._hold(pages[:best])
        return pages[:best]

    def extend(self, pages: list[int], tokens: int) -> bool:
        """Append pages until `tokens` tokens fit; forgets kept rows if needed.

        Returns False, and appends nothing, if there are too few pages.
        """
        first, last = len(pages), self.pages_for(tokens)
        while self.missing(first, last):
            if not self._kept:
                return False
            self._forget_oldest()
        for j in range(first, last):
            pages.append(self._free[j % self.devices].pop())
        self._hold(pages, first=first)
        return True

    def release(self, pages: list[int]) -> None:
        """Give the pages of a row back."""
        for j, page in enumerate(pages):
            device = j % self.devices
            self._uses[device][page] -= 1
            if not self._uses[device][page]:
                self._free[device].append(page)

    def keep(self, ids: Ids, pages: list[int]) -> None:
        """Keep the whole pages of a row that is finished, of which `ids` are filled, and release the others."""
        whole = len(ids) // self.page
        kept = _Kept(ids[: whole * self.page], pages[:whole])
        self._hold(kept.pages)
        self.release(pages)
        for name in [n for n, k in self._kept.items() if common_prefix(k.ids, kept.ids) == len(k.ids)]:
            self.release(self._kept.pop(name).pages)  # the new one begins with it
        self._kept[self._next], self._next = kept, self._next + 1
        while len(self._kept) > self._most_kept:
            self._forget_oldest()

    def table(self, rows: list[list[int]]) -> NDArray[np.int32]:
        """Return the tables of rows, [n,R,J] int32, J pages a device."""
        made = np.zeros((self.devices, len(rows), self.per_device), np.int32)
        for row, pages in enumerate(rows):
            for device in range(self.devices):
                mine = pages[device :: self.devices]
                made[device, row, : len(mine)] = mine
        return made

    def missing(self, first: int, last: int) -> int:
        """Return how many more pages each device needs for pages `first` to `last` of a row."""
        needed = (len(range(first + (d - first) % self.devices, last, self.devices)) for d in range(self.devices))
        return max(0, *(n - len(free) for n, free in zip(needed, self._free, strict=True)))

    def _hold(self, pages: list[int], *, first: int = 0) -> None:
        for j in range(first, len(pages)):
            self._uses[j % self.devices][pages[j]] += 1

    def _forget_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self.release(kept.pages)


def common_prefix(a: Ids, b: Ids) -> int:
    """Return how many ids two sequences have in common at their start."""
    length = min(len(a), len(b))
    differing = np.flatnonzero(a[:length] != b[:length])
    return int(differing[0]) if len(differing) else length
