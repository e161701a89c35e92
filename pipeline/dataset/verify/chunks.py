"""Checks over all sequences: do the chunks of every document join up, and are they what the token store holds?

A chunk is kept in 28 bytes. Documents are told apart by 64 bits of a hash of their id: among 10^8 of them two meet by
chance once in 4,000 datasets.
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
    """What is read here of a token store."""

    def table(self) -> pa.Table:
        """Return the rows (records.TOKENS) of all documents."""
        ...


class ChunkLog:
    """Collects every chunk; with a store, compares its tokens with the store's, `without` some of its documents.

    `left_out` others of the store need not be there, as the mixture did not take them.
    """

    def __init__(self, store: Store | None, *, without: Set[str] = frozenset(), left_out: int = 0) -> None:
        self._store, self._left_out = store, left_out
        self._copies: dict[int, tuple[str, int]] = {}  # the document's hash -> its id and which copy, from 1
        self._columns = array("Q"), array("q"), array("q"), array("l")  # document, start, length, sequence
        self._keys: list[str] = []
        self._rows: dict[str, tuple[int, int, int, int]] = {}
        if store is not None:
            table = store.table()
            places = zip(*(table[n].to_pylist() for n in ("unit", "batch", "row", "length")), strict=True)
            rows = zip(table["document_id"].to_pylist(), places, strict=True)
            self._rows = {name: place for name, place in rows if name not in without}

    def add(self, sequence: PackedSequence) -> Iterator[str]:
        """Take in the chunks of a sequence, and yield where its tokens are not those of the store."""
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
            yield f"tokens {chunk.start}..{chunk.start + chunk.length} of document {chunk.id} are not the store's"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, what) for each document whose chunks overlap, leave a gap, or do not reach to its end."""
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
                yield "", f"of document {name}, {reached} of {total} tokens are there"
        for name in absent:
            yield "", f"of document {name}, 0 of {self._rows[name][-1]} tokens are there"
        for number, (name, copy) in self._copies.items() if self._store is not None else ():
            if name in self._rows and ends[number] != self._rows[name][-1]:
                yield "", f"of document {name}, copy {copy}, {ends[number]} of {self._rows[name][-1]} tokens are there"


def _number(document: str, copy: int) -> int:
    name = f"{document}:{copy}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
