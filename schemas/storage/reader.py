"""A seekable stream of a remote object: ranged reads of one version, with read-ahead where they are sequential."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

_FIRST_BYTES, _MOST_BYTES = 64 << 10, 8 << 20


class RangedReader(io.RawIOBase):
    """Reads `size` bytes through `fetch`, which returns a range given by start and length.

    A read that continues the last one fetches twice as much as that, so that a whole file takes few requests and a
    random read costs little more than its own bytes.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size = fetch, size
        self._at = 0
        self._start, self._block = 0, b""
        self._ahead = _FIRST_BYTES

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position; nothing is fetched."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read up to the length of `buffer`, fewer bytes only at the end of the file or of what was fetched."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        offset = self._at - self._start
        if not 0 <= offset < len(self._block):
            self._fill(wanted)
            offset = 0
        found = self._block[offset : offset + wanted]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _fill(self, wanted: int) -> None:
        is_next = self._at == self._start + len(self._block)
        self._ahead = min(_MOST_BYTES, 2 * self._ahead) if is_next else _FIRST_BYTES
        self._start = self._at
        self._block = self._fetch(self._at, min(max(wanted, self._ahead), self._size - self._at))
