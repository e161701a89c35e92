"""Joins neighbouring chunks to long documents with the questions about them.

LWM puts the questions at the end (arXiv 2402.08268, section 3.3): depth 1. A question is asked at the first depth that
is behind its chunk, so that its answer has been read; depths of .5 and 1 ask about the first half in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from pipeline.qa_generation.chunks import Chunk
from pipeline.qa_generation.pairs import Pair
from pipeline.text.qa import Turn


@dataclass(frozen=True)
class QaDocument:
    """Neighbouring chunks and the pairs about them, ordered by chunk."""

    chunks: tuple[Chunk, ...]
    pairs: tuple[Pair, ...]

    def turns(self, depths: Sequence[float]) -> list[Turn]:
        """Return the turns of a document with the pairs at these depths, of which the last must be 1."""
        turns: list[Turn] = []
        read = asked = 0
        for depth in depths:
            end = math.ceil(depth * len(self.chunks))
            turns += [Turn("context", chunk.text) for chunk in self.chunks[read:end]]
            first = self.chunks[0].number
            due = [pair for pair in self.pairs[asked:] if pair.chunk - first < end]
            for pair in due:
                turns += [Turn("question", pair.question), Turn("answer", pair.answer)]
            read, asked = max(read, end), asked + len(due)
        return turns


def join(chunks: Sequence[Chunk], pairs: Sequence[Pair], *, words: int) -> Iterator[QaDocument]:
    """Yield documents of neighbouring chunks, each of at most `words` words but at least one chunk.

    Chunks without pairs are context as well; a document without any pair is left out.
    """
    by_chunk = {number: list(some) for number, some in groupby(pairs, key=attrgetter("chunk"))}
    for group in _groups(chunks, words):
        about = tuple(pair for chunk in group for pair in by_chunk.get(chunk.number, ()))
        if about:
            yield QaDocument(tuple(group), about)


def _groups(chunks: Sequence[Chunk], words: int) -> Iterator[list[Chunk]]:
    group: list[Chunk] = []
    for chunk in chunks:
        if group and sum(other.words for other in group) + chunk.words > words:
            yield group
            group = []
        group.append(chunk)
    if group:
        yield group
