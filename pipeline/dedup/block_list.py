"""The block list of a workspace: items that were taken down and must not return.

WORKSPACE/takedown/blocked/ID.parquet      the items of one takedown: addresses, hashes, and hash keys of their samples
WORKSPACE/takedown/blocked/found.parquet   the addresses at which a later survey found them again

An item is blocked by its address, by the SHA-256 of its bytes, by the hash of its content, and by similarity: the LSH
keys of its samples (`pipeline.dedup.similarity`), from which neither a frame nor a sentence can be restored. Keys are
grouped into windows of the item, so that a copy has to agree with successive samples and not with scattered ones:

    an item is a copy if at least half of its samples share keys with one place each of a blocked item, or at least half
    of the samples of a blocked item share keys with one place each of the item

A row of a table is not blocked by its address, because the address of other rows changes when one is deleted. Memory: 8
bytes per key, which is 30 kB per minute of blocked video. Time: one binary search per key of an item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup.similarity import Signature
from pipeline.kinds.registry import kind_of, kinds
from pipeline.runtime.units import read_rows
from pipeline.runtime.workspace import Workspace
from pipeline.sources.text_tables import parse_row_uri
from schemas.errors import DatasetError
from schemas.fingerprint import fingerprint
from schemas.rows import SignatureRow
from schemas.storage.location import Location
from schemas.tables import write_table

MIN_SHARE = 0.5  # of the samples of an item, from which it is a copy
_WINDOW_S = 30.0  # of a video, whose samples are compared with two successive windows of another one
_MIN_KEYS = 0.25  # share of the keys of the only sample of an item that must agree
_FOLDER = ("takedown", "blocked")
FOUND = "found"  # name of the file of items that a later survey found to be taken down

BLOCKED = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("document_id", pa.string()),
        pa.field("content_id", pa.string()),
        pa.field("takedown", pa.string(), nullable=False),
        pa.field("search", pa.string()),  # fingerprint of the similarity that the keys are of; null: no keys
        pa.field("keys", pa.list_(pa.uint64())),  # of all samples, row by row
        pa.field("windows", pa.list_(pa.int32())),  # of each sample: its window
    ]
)


@dataclass(frozen=True, eq=False)
class SampleKeys:
    """The hash keys [n, k] of the n samples of an item that can be told from others, and the window [n] of each."""

    keys: NDArray[np.uint64]
    windows: NDArray[np.int32]

    @classmethod
    def of(cls, row: SignatureRow) -> SampleKeys | None:
        """Return the keys of a signature; None if its kind has no search or no sample can be told from others."""
        similarity = kind_of(row.kind).similarity()
        if similarity is None or not len(row.samples):
            return None
        found = [(number, similarity.hash_keys(part)) for number, part in _windows(row)]
        found = [(number, keys) for number, keys in found if len(keys)]
        if not found:
            return None
        windows = np.concatenate([np.full(len(keys), number, np.int32) for number, keys in found])
        return cls(np.concatenate([keys for _, keys in found]), windows)


def _windows(row: SignatureRow) -> Iterator[tuple[int, Signature]]:
    """Yield the parts of a signature by window; texts are one window, as their samples agree by chance hardly ever."""
    starts, lengths = np.array(row.starts, np.float64), np.array(row.lengths, np.float64)
    has_windows = kind_of(row.kind).position_unit == "s"
    numbers = (starts // _WINDOW_S if has_windows else np.zeros(len(starts))).astype(np.int32)
    for number in np.unique(numbers).tolist():
        some = np.flatnonzero(numbers == number)
        samples = tuple(row.samples[i] for i in some.tolist())
        yield number, Signature(row.content_id, row.kind, starts[some], lengths[some], samples)


def search_of(kind: str) -> str | None:
    """Return the fingerprint of the search of a kind, which identifies the meaning of its hash keys."""
    similarity = kind_of(kind).similarity()
    return None if similarity is None else fingerprint(type(similarity).__name__, similarity)


def shared_share(item: SampleKeys, other: SampleKeys) -> float:
    """Return the share of the samples of `item` that share keys with one place of `other` per window, 0 to 1.

    A place is two successive windows of `other`.
    """
    order = np.argsort(other.keys, axis=None)
    sorted_keys, owners = other.keys.reshape(-1)[order], other.windows[order // other.keys.shape[1]]
    agreeing = 0
    for window in np.unique(item.windows).tolist():
        keys = item.keys[item.windows == window]
        agreeing += _agreeing(keys, sorted_keys, owners, alone=len(item.keys) == 1)
    return agreeing / len(item.keys)


def _agreeing(keys: NDArray[np.uint64], others: NDArray[np.uint64], owners: NDArray[np.int32], *, alone: bool) -> int:
    """Return how many of the samples with keys [m, k] have one in common with the best place."""
    first, end = (np.searchsorted(others, keys.reshape(-1), side=side) for side in ("left", "right"))
    count = end - first
    sample = np.repeat(np.repeat(np.arange(len(keys)), keys.shape[1]), count)
    at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    if alone:  # a picture: one key that agrees may be chance
        return int(np.count_nonzero(count) >= _MIN_KEYS * keys.shape[1])
    places = np.unique(np.stack([sample, owners[at]], axis=1), axis=0)
    numbers = np.unique(places[:, 1])
    if not len(numbers):
        return 0
    return max(len(np.unique(places[np.isin(places[:, 1], (place, place + 1)), 0])) for place in numbers.tolist())


@dataclass(frozen=True, kw_only=True)
class BlockedItem:
    """One item that was taken down."""

    uri: str
    kind: str
    takedown: str  # its id
    file: str = ""  # name of the file of the block list
    document_id: str | None = None
    content_id: str | None = None
    search: str | None = None
    samples: SampleKeys | None = None

    def to_row(self) -> dict[str, object]:
        """Return the row of BLOCKED."""
        columns: dict[str, object] = {name: getattr(self, name, None) for name in BLOCKED.names}
        samples = self.samples
        keys = {"keys": samples and samples.keys.reshape(-1), "windows": samples and samples.windows}
        return columns | keys


def _items(table: pa.Table, file: str) -> Iterator[BlockedItem]:
    """Yield the items of a table of BLOCKED."""
    names = [name for name in BLOCKED.names if name not in ("keys", "windows")]
    for row, plain in enumerate(table.select(names).to_pylist()):
        windows = table["windows"][row]
        samples = None
        if windows.is_valid and len(windows):
            keys = table["keys"][row].values.to_numpy()
            samples = SampleKeys(keys.reshape(len(windows), -1), windows.values.to_numpy())
        yield BlockedItem(**plain, file=file, samples=samples)


class _KeyIndex(NamedTuple):
    """Hash keys [N], sorted, and the number [N] of the item that has each."""

    keys: NDArray[np.uint64]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, items: Sequence[tuple[int, SampleKeys]]) -> _KeyIndex:
        keys = np.concatenate([samples.keys.reshape(-1) for _, samples in items])
        numbers = np.concatenate([np.full(samples.keys.size, number) for number, samples in items])
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], numbers[order])

    def owners_of(self, keys: NDArray[np.uint64]) -> list[int]:
        """Return the numbers of the items that have one of `keys`."""
        first, end = (np.searchsorted(self.keys, np.unique(keys), side=side) for side in ("left", "right"))
        hits = [self.numbers[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True) if a < b]
        return np.unique(np.concatenate(hits)).tolist() if hits else []


_NOTHING = _KeyIndex(np.zeros(0, np.uint64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class BlockList:
    """All items of a workspace that were taken down."""

    items: tuple[BlockedItem, ...] = ()

    @classmethod
    def read(cls, workspace: Workspace) -> BlockList:
        """Read the block list. Raises DatasetError for a damaged file: a blocked item must not return unnoticed."""
        found: list[BlockedItem] = []
        for path in _folder(workspace).list("*.parquet"):
            try:
                found += _items(read_rows(path, BLOCKED), path.stem)
            except DatasetError as e:
                raise DatasetError(f"the block list {path} cannot be read; restore it from a backup ({e})") from e
        return cls(tuple(found))

    def __bool__(self) -> bool:
        return bool(self.items)

    @cached_property
    def by_address(self) -> Mapping[str, BlockedItem]:
        """The blocked items by address, without rows of tables."""
        return {item.uri: item for item in reversed(self.items) if parse_row_uri(item.uri) is None}

    @cached_property
    def _by_hash(self) -> Mapping[str, BlockedItem]:
        pairs = ((name, item) for item in reversed(self.items) for name in (item.document_id, item.content_id))
        return {name: item for name, item in pairs if name}

    @cached_property
    def _keys(self) -> Mapping[str, _KeyIndex]:
        """The keys of the items by kind, if they are of the present search."""
        found: dict[str, list[tuple[int, SampleKeys]]] = {}
        for number, item in enumerate(self.items):
            if item.samples is not None and item.search == search_of(item.kind):
                found.setdefault(item.kind, []).append((number, item.samples))
        return {kind: _KeyIndex.of(some) for kind, some in found.items()}

    @property
    def takedowns(self) -> Mapping[str, str]:
        """The takedown of every blocked document_id and content_id."""
        return {name: item.takedown for name, item in self._by_hash.items()}

    def at(self, uri: str) -> BlockedItem | None:
        """Return the blocked item with this address."""
        return self.by_address.get(uri)

    def with_hash(self, *hashes: str | None) -> BlockedItem | None:
        """Return the blocked item that has one of these hashes as its document_id or content_id."""
        return next((self._by_hash[name] for name in hashes if name and name in self._by_hash), None)

    def like(self, signature: SignatureRow | None) -> BlockedItem | None:
        """Return the first blocked item that a signature is a copy of, contains, or is a part of."""
        if signature is None or not len(self._keys.get(signature.kind, _NOTHING).keys):
            return None
        samples = SampleKeys.of(signature)
        if samples is None:
            return None
        for number in self._keys[signature.kind].owners_of(samples.keys):
            if _is_copy(samples, self.items[number].samples):
                return self.items[number]
        return None

    def unsearchable(self) -> list[BlockedItem]:
        """Return the items whose hash keys are of another version of the search: only their hashes are compared."""
        searches = {name: search_of(name) for name in kinds()}
        return [i for i in self.items if i.samples is not None and i.search != searches.get(i.kind)]


def _is_copy(one: SampleKeys, other: SampleKeys | None) -> bool:
    if other is None or one.keys.shape[1] != other.keys.shape[1]:
        return False
    if not np.isin(one.keys, other.keys).any():
        return False
    return max(shared_share(one, other), shared_share(other, one)) >= MIN_SHARE


def _folder(workspace: Workspace) -> Location:
    return workspace.takedown / "blocked"


def write_blocked(workspace: Workspace, file: str, items: Iterable[BlockedItem]) -> Location:
    """Replace a file of the block list, named after its takedown or FOUND; return its path."""
    path = _folder(workspace) / f"{file}.parquet"
    write_table(path, pa.Table.from_pylist([item.to_row() for item in items], BLOCKED))
    return path
