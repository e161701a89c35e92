"""The zip archive of an EPUB: its entries by name, read in memory and within limits.

The archive is untrusted. It is never unpacked to disk; the number of entries, the compression ratio and the total size
of what is read are limited. A name in the package document finds its entry as in tolerant readers: in any letter case
and Unicode normalization, with percent-escapes, backslashes or a leading slash. A name outside of the archive finds
nothing.
"""

from __future__ import annotations

import copy
import posixpath
import struct
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO, cast
from urllib.parse import unquote

from schemas.deadline import checkpoint
from schemas.errors import InputError, Reason
from schemas.record_errors import record_errors

_MAX_ENTRIES = 10_000
_MAX_RATIO = 200  # unpacked bytes over packed bytes; 3 to 10 for text
_MAX_UNCHECKED_BYTES = 1 << 20  # smaller entries may have any ratio
_MAX_DICTIONARY_BYTES = 64 << 20  # of LZMA, which allocates it before it reads anything
_BLOCK_BYTES = 1 << 18
_SMALL_BLOCK_BYTES = 4096  # zipfile limits the output of deflate only, not of bzip2 and LZMA
_MAX_NAME_CHARS = 1000  # normalization takes quadratic time in the worst case
_UTF8_FLAG = 0x800
_HEADER_BYTES = 30  # of an entry; its last four are the lengths of the name and of the extra field


class EpubArchive:
    """The entries of an EPUB. `max_bytes` limits what is read in total."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive, self._remaining, self._max_bytes = archive, max_bytes, max_bytes
        self._exact: defaultdict[str, list[zipfile.ZipInfo]] = defaultdict(list)
        self._similar: dict[str, str] = {}
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise InputError(Reason.TOO_LARGE, f"the EPUB has {len(entries):,} entries; the limit is {_MAX_ENTRIES:,}")
        for entry in (entry for entry in entries if not entry.is_dir()):
            self._exact[entry.filename].append(entry)
            for name in _spellings(entry) if len(entry.filename) <= _MAX_NAME_CHARS else ():
                self._similar.setdefault(_key(name), entry.filename)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all entries."""
        return tuple(self._exact)

    def find(self, href: str, *, folder: str = "") -> str | None:
        """Return the name of the entry that a reference in a document of `folder` means; None if there is none."""
        for path in _paths(href, folder):
            if path in self._exact:
                return path
            if (name := self._similar.get(_key(path))) is not None:
                return name
        return None

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return an entry's bytes, which count against the limit of the whole archive.

        Of several entries of one name, the last that can be read is used. Raises InputError: TOO_LARGE beyond a limit,
        UNREADABLE for a damaged or encrypted entry.
        """
        error: InputError | None = None
        for entry in reversed(self._exact.get(name, [])):
            try:
                with record_errors(f"the EPUB's entry {name[:80]!r}"):
                    return self._read(entry, limit)
            except InputError as e:
                if e.reason is Reason.TOO_LARGE:
                    raise
                error = error or e
        raise error or InputError(Reason.UNREADABLE, f"the EPUB has no entry {name[:80]!r}")

    def _read(self, entry: zipfile.ZipInfo, limit: int | None) -> bytes:
        _require_no_bomb(entry)
        most = min(self._remaining, limit or self._remaining)
        is_limited = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        block_bytes = _BLOCK_BYTES if is_limited else _SMALL_BLOCK_BYTES
        data = bytearray()
        with self._archive.open(self._as_stored(entry)) as stream:
            while block := stream.read(block_bytes):
                checkpoint()
                data += block
                if len(data) > most:
                    raise InputError(
                        Reason.TOO_LARGE,
                        f"the EPUB unpacks to more than {self._max_bytes:,} bytes; raise books.max-bytes or split it",
                    )
        self._remaining -= len(data)
        return bytes(data)

    def _as_stored(self, entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
        """Return an entry under the name in its own header, which zipfile compares with that in the directory."""
        file = cast(BinaryIO, self._archive.fp)
        file.seek(entry.header_offset)
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            return entry  # zipfile reports the damage
        name_bytes, extra_bytes = struct.unpack("<HH", header[-4:])
        name = file.read(name_bytes)
        if entry.compress_type == zipfile.ZIP_LZMA:
            file.seek(extra_bytes, 1)
            _require_small_dictionary(file.read(9))
        stored = copy.copy(entry)
        stored.orig_filename = name.decode("utf-8" if entry.flag_bits & _UTF8_FLAG else "cp437")
        return stored


def _require_no_bomb(entry: zipfile.ZipInfo) -> None:
    if entry.file_size > max(_MAX_UNCHECKED_BYTES, _MAX_RATIO * entry.compress_size):
        raise InputError(
            Reason.TOO_LARGE,
            f"the EPUB's entry {entry.filename[:80]!r} unpacks from {entry.compress_size:,} to "
            f"{entry.file_size:,} bytes, more than {_MAX_RATIO} times as much: a zip bomb",
        )


def _require_small_dictionary(head: bytes) -> None:
    """Check the first 9 bytes of an LZMA entry; the last four are the size of the dictionary."""
    size = int.from_bytes(head[5:9], "little")
    if size > _MAX_DICTIONARY_BYTES:
        raise InputError(
            Reason.UNREADABLE, f"an LZMA dictionary of {size:,} bytes; the limit is {_MAX_DICTIONARY_BYTES:,}"
        )


def _spellings(entry: zipfile.ZipInfo) -> Iterator[str]:
    """Yield the name of an entry, and the names that it has in the encodings that archivers use without a flag."""
    yield entry.filename
    if not entry.flag_bits & _UTF8_FLAG and not entry.filename.isascii():
        raw = entry.filename.encode("cp437", errors="replace")
        for encoding in ("utf-8", "cp1252"):
            yield raw.decode(encoding, errors="replace")


def _paths(href: str, folder: str) -> Iterator[str]:
    """Yield the paths in the archive that a reference can mean, the most likely ones first."""
    spellings = [href, href.partition("#")[0], href.partition("#")[0].partition("?")[0]]
    decoded = [unquote(name, encoding) for name in spellings for encoding in ("utf-8", "cp1252")]
    if len(href) > _MAX_NAME_CHARS:
        return
    for name in filter(None, dict.fromkeys([*spellings, *decoded, *map(unquote, decoded)])):
        path = name.replace("\\", "/")
        for base in (folder, ""):
            joined = posixpath.normpath(posixpath.join(base, path.lstrip("/") if base == "" else path))
            if not joined.startswith(("..", "/")) and joined != ".":
                yield joined


def _key(name: str) -> str:
    """Return a name in the form in which it is compared."""
    path = posixpath.normpath(name.replace("\\", "/").lstrip("/"))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
