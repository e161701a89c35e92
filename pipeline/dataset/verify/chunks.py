"""Checks over all sequences: the chunks of each document cover it without gaps and overlaps, and equal the token store.

A chunk uses 28 bytes of memory. Documents are identified by a 64-bit hash of their id: with 10^8 documents, the
probability of a collision is 1 in 4,000.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Set
from typing import Protocol

import numpy as np
import pyarrow as pa

from pipeline.runtime.token_store import Tokens
from schemas.errors import DatasetError
from schemas.shards.sequence import Chunk, PackedSequence


class Store(Tokens, Protocol):
    """The part of a token store that is used here."""

    def table(self) -> pa.Table:
        """Return the index (records.TOKENS) of all documents."""
        ...


class ChunkLog:
    """Collects all chunks; with a store, compares their tokens with the store's.

    The documents `without` are not expected in the dataset, nor are `left_out` others, which the mixture excluded.
    """

    def __init__(self, store: Store | None, *, without: Set[str] = frozenset(), left_out: int = 0) -> None:
        self._store, self._left_out = store, left_out
        self._copies: dict[
            int, tuple[str, int]
        ] = {}  # hash of a copy -> id of the document, number of the copy (from 1)
        self._columns = array("Q"), array("q"), array("q"), array("l")  # document, start, length, sequence
        self._keys: list[str] = []
        self._rows: dict[str, tuple[int, int, int, int]] = {}
        if store is not None:
            table = store.table()
            places = zip(*(table[n].to_pylist() for n in ("unit", "batch", "row", "length")), strict=True)
            rows = zip(table["document_id"].to_pylist(), places, strict=True)
            self._rows = {name: place for name, place in rows if name not in without}

    def add(self, sequence: PackedSequence) -> Iterator[str]:
        """Add the chunks of a sequence, and yield the chunks whose tokens differ from the store's."""
        number, at = len(self._keys), 0
        self._keys.append(sequence.key)
        for chunk in sequence.chunks:
            document = _number(chunk.id, chunk.copy)
            if chunk.copy:
                self._copies[document] = chunk.id, chunk.copy
            for column, value in zip(self._columns, (document, chunk.start, chunk.length, number), strict=True):
                column.append(value)
            if self._store is not None:
                yield from self._compare(chunk, sequence.tokens[at : at + chunk.length], self._store)
            at += chunk.length

    def _compare(self, chunk: Chunk, tokens: object, store: Store) -> Iterator[str]:
        if chunk.id not in self._rows:
            yield f"document {chunk.id} is not in the token store"
            return
        unit, batch, row, _ = self._rows[chunk.id]
        try:
            same = np.array_equal(store.read(unit, batch, row, chunk.start, chunk.length), np.asarray(tokens))
        except DatasetError as e:
            yield str(e)
            return
        if not same:
            end = chunk.start + chunk.length
            yield f"tokens {chunk.start}..{end} of document {chunk.id} differ from the token store"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, problem) for each document with overlapping, missing or, with a store, truncated chunks."""
        document, start, length, sequence = (np.array(column) for column in self._columns)
        order = np.lexsort((start, document))
        document, start, end, sequence = document[order], start[order], (start + length)[order], sequence[order]
        is_first = np.diff(document, prepend=document[:1] + np.uint64(1)) != 0
        expected = np.where(is_first, 0, np.roll(end, 1))
        for i in np.flatnonzero(start != expected).tolist():
            yield self._keys[sequence[i]], f"a chunk begins at token {start[i]} of its document, expected {expected[i]}"
        ends = dict(zip(document[np.roll(is_first, -1)].tolist(), end[np.roll(is_first, -1)].tolist(), strict=True))
        absent = [name for name, (*_, total) in self._rows.items() if total and _number(name, 0) not in ends]
        if len(absent) == self._left_out:
            absent = []
        for name, (*_, total) in self._rows.items():
            if (reached := ends.get(_number(name, 0), total)) != total:
                yield "", f"the dataset has {reached} of {total} tokens of document {name}"
        for name in absent:
            yield "", f"the dataset has 0 of {self._rows[name][-1]} tokens of document {name}"
        for number, (name, copy) in self._copies.items() if self._store is not None else ():
            if name in self._rows and ends[number] != self._rows[name][-1]:
                yield (
                    "",
                    f"the dataset has {ends[number]} of {self._rows[name][-1]} tokens of document {name}, copy {copy}",
                )


def _number(document: str, copy: int) -> int:
    name = f"{document}:{copy}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
