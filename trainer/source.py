"""Random access to the sequences of a packed dataset: one sequence is one read at its byte offset.

A caller that needs only some of the tokens (sequence parallelism over several hosts) names them, and then only the two
headers, the runs of tokens that are needed, and the spans are read. Shards are files on a mounted file system; object
storage is not read directly. Nothing is unpickled.

Axes: S sequence, M spans.
"""

from __future__ import annotations

import bisect
import io
import itertools
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.dataset import CARD, INDEX, DatasetCard, ShardEntry, read_card, read_index
from schemas.errors import ConfigError, DatasetError
from schemas.files import inside
from schemas.fingerprint import fingerprint, sha256_file
from schemas.packed import check_spans

_TAR_BLOCK = 512
_HEAD_BYTES = 2 * _TAR_BLOCK  # a tar header, and an .npy header behind it
_WHOLE_READ_FRACTION = 0.5  # from here on one read of all tokens is cheaper than many of some
_REPAIR = "Pack the dataset again (`longreel pack`), or copy it again from where it is whole."


class _Sample(NamedTuple):
    """Where one sequence lies."""

    path: Path
    start: int
    end: int
    where: str  # for messages


class PackedSplit:
    """Random access to one split of one or more packed datasets, one after the other.

    All must have the same context length and the same vocabulary. Every shard's size is compared with the index
    at the start, so that a missing or cut shard is found before the first step. Reading is thread-safe: it keeps no
    file open.
    """

    def __init__(self, directories: Sequence[Path], split: str) -> None:
        if not directories:
            raise ConfigError("dataset must name at least one packed dataset directory, got none")
        cards = {directory: read_card(directory) for directory in directories}
        first = cards[directories[0]]
        for directory, card in cards.items():
            first.vocabulary.require_same(card.vocabulary, ours=str(directories[0]), theirs=str(directory))
            if card.context_length != first.context_length:
                raise ConfigError(
                    f"{directories[0]} has a context of {first.context_length} tokens and {directory} of "
                    f"{card.context_length}: train on one context length at a time"
                )
        self.split = split
        self.context_length = first.context_length
        self.vocabulary = first.vocabulary
        prints = [card.fingerprint for card in cards.values()]
        self.fingerprint = prints[0] if len(prints) == 1 else fingerprint(prints)
        self._shards = [
            (inside(directory, shard.url), shard)
            for directory, card in cards.items()
            for shard in _index(directory, card)
            if shard.split == split
        ]
        for path, shard in self._shards:
            _check_size(path, shard)
        self._ends = list(itertools.accumulate(shard.nsamples for _, shard in self._shards))
        if not len(self):
            have = ", ".join(sorted({name for card in cards.values() for name in card.splits})) or "none"
            raise DatasetError(
                f"{', '.join(map(str, cards))} has no sequences in the split {split!r} (it has: {have}). "
                "Pack a dataset with more documents, or with a larger share of them in this split."
                + (" Or train without evaluation: --eval-every 0." if split == "val" else "")
            )

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _sample(self, index: int) -> _Sample:
        number = bisect.bisect_right(self._ends, index)
        path, shard = self._shards[number]
        i = index - (self._ends[number] - shard.nsamples)
        return _Sample(path, shard.offsets[i], shard.offsets[i + 1], f"{path}, sample {i}")

    def read(self, index: int, *, needed: NDArray[np.bool_] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return tokens [S] in the vocabulary's dtype, and spans [M]; `index` is in 0..len-1.

        With `needed` [S], places where it is False may hold 0 in place of their token, as they may not be read.
        Raises DatasetError that names the shard where it is cut short, missing, or not what the index says.
        """
        sample = self._sample(index)
        if needed is None or needed.mean() >= _WHOLE_READ_FRACTION:
            block = _read(sample, sample.start, sample.end)
            start, size = _member(block, 0, "tokens.npy", sample)
            payload = _tokens_payload(block[start : start + size], self.vocabulary.dtype, self.context_length, sample)
            tokens = np.frombuffer(block, self.vocabulary.dtype, self.context_length, start + payload)
            rest = block[_next_member(start, size) :]
        else:
            head = _read(sample, sample.start, min(sample.start + _HEAD_BYTES, sample.end))
            start, size = _member(head, 0, "tokens.npy", sample)
            payload = _tokens_payload(head[start:], self.vocabulary.dtype, self.context_length, sample)
            tokens = self._runs(sample, sample.start + start + payload, needed)
            at = sample.start + _next_member(start, size)
            _, size = _member(_read(sample, at, at + _TAR_BLOCK), 0, "spans.npy", sample)
            rest = _read(sample, at, at + _TAR_BLOCK + size)
        spans = _spans(rest, sample)
        check_spans(spans, length=len(tokens), documents=_pieces(spans), where=sample.where)
        if tokens.max(initial=0) >= self.vocabulary.size:
            raise DatasetError(
                f"{sample.where}: token {tokens.max()} is outside the vocabulary of {self.vocabulary.size}. {_REPAIR}"
            )
        return tokens, spans

    def _runs(self, sample: _Sample, origin: int, needed: NDArray[np.bool_]) -> NDArray[Any]:
        """Read only the runs of tokens that are needed; the first token lies at byte `origin` of the shard."""
        dtype = self.vocabulary.dtype
        tokens = np.zeros(self.context_length, dtype)
        edges = np.flatnonzero(np.diff(needed, prepend=False, append=False))
        for start, end in edges.reshape(-1, 2).tolist():
            data = _read(sample, origin + start * dtype.itemsize, origin + end * dtype.itemsize)
            tokens[start:end] = np.frombuffer(data, dtype)
        return tokens


def _index(directory: Path, card: DatasetCard) -> list[ShardEntry]:
    """Read the shard index, which must be the one that the card was written for."""
    shards = read_index(directory)
    if sha256_file(directory / INDEX) != card.index_sha256:
        raise DatasetError(f"{directory / INDEX} is not the index that {CARD} was written for. {_REPAIR}")
    return shards


def _check_size(path: Path, shard: ShardEntry) -> None:
    try:
        actual = path.stat().st_size
    except OSError as e:
        raise DatasetError(
            f"{path} cannot be read: {e.strerror}; the index lists it with {shard.filesize} bytes. {_REPAIR}"
        ) from e
    if actual != shard.filesize or shard.offsets[-1] > actual:
        raise DatasetError(
            f"{path} has {actual} bytes, the index says {shard.filesize}: it was cut short or altered. {_REPAIR}"
        )


def _read(sample: _Sample, start: int, end: int) -> bytes:
    """Read bytes start..end of the sample's shard."""
    try:
        with sample.path.open("rb", buffering=0) as f:
            data = os.pread(f.fileno(), end - start, start)
    except OSError as e:
        raise DatasetError(f"{sample.where} cannot be read: {e.strerror}. {_REPAIR}") from e
    if len(data) != end - start:
        raise DatasetError(
            f"{sample.where}: expected {end - start} bytes at {start}, got {len(data)}: "
            f"the shard was cut short. {_REPAIR}"
        )
    return data


def _member(block: bytes, at: int, suffix: str, sample: _Sample) -> tuple[int, int]:
    """Return start and size in `block` of the content of the tar member whose header is at `at`."""
    try:
        info = tarfile.TarInfo.frombuf(block[at : at + _TAR_BLOCK], "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as e:
        raise DatasetError(f"{sample.where}: no tar header at its offset ({e}). {_REPAIR}") from e
    if not info.name.endswith(f".{suffix}"):
        raise DatasetError(f"{sample.where}: found {info.name!r} where KEY.{suffix} was expected. {_REPAIR}")
    return at + _TAR_BLOCK, info.size


def _next_member(start: int, size: int) -> int:
    return start + -(-size // _TAR_BLOCK) * _TAR_BLOCK


def _tokens_payload(npy: bytes, dtype: np.dtype[Any], length: int, sample: _Sample) -> int:
    """Return at which byte of `npy` its tokens begin; checks that they are `dtype` [length]."""
    stream = io.BytesIO(npy)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, found = header(stream)
    except ValueError as e:
        raise DatasetError(f"{sample.where}: tokens.npy has no readable header ({e}). {_REPAIR}") from e
    if shape != (length,) or found != dtype:
        raise DatasetError(f"{sample.where}: tokens are {found} {shape}, the card says {dtype} {(length,)}. {_REPAIR}")
    return stream.tell()


def _spans(block: bytes, sample: _Sample) -> NDArray[Any]:
    start, size = _member(block, 0, "spans.npy", sample)
    try:
        spans = np.load(io.BytesIO(block[start : start + size]), allow_pickle=False)
    except (ValueError, EOFError) as e:
        raise DatasetError(f"{sample.where}: spans.npy cannot be read ({e}). {_REPAIR}") from e
    return np.asarray(spans)


def _pieces(spans: NDArray[Any]) -> int:
    """Return how many pieces of documents the spans name; check_spans then holds them to 0..n-1 in order."""
    names = spans.dtype.names or ()
    return int(spans["document"].max(initial=-1)) + 1 if "document" in names else 0
