"""Checks the card: types and ranges, and its counts against those of the sequences; reading it checks its hash."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import get_args

from schemas.counted import counted
from schemas.dataset import SHORTEST_CONTEXT, DatasetCard, LossWeighting, SplitCard
from schemas.records import SPLITS

_SHA256 = re.compile(r"[0-9a-f]{64}")


def card_problems(card: DatasetCard) -> Iterator[str]:
    """Yield the problems of a card; a card with problems must not be used."""
    vocabulary = dataclasses.asdict(card.vocabulary)
    numbers = [v for name, v in vocabulary.items() if not name.endswith("sha256")]
    counts = [getattr(split, f.name) for split in card.splits.values() for f in dataclasses.fields(SplitCard)]
    flat = [i for n in (*numbers, card.context_length, card.frame_size, card.frame_grid) for i in _flat(n)]
    if not all(type(i) is int for i in flat) or not all(type(i) in (int, float) for i in [*counts, card.frame_rate]):
        yield "a field that must be a number has another type"
    elif card.context_length < SHORTEST_CONTEXT:
        yield f"context_length is {card.context_length}, below {SHORTEST_CONTEXT}"
    if not all(isinstance(i, str) and i for i in card.taken_down) or [*card.taken_down] != sorted(set(card.taken_down)):
        yield "`taken_down` is not a sorted list of distinct ids"
    if not all(type(number) is int and number >= 0 for number in card.left_out.values()):
        yield "a count in `left_out` is not a non-negative integer"
    hashes = (card.fingerprint, *(file.sha256 for file in card.stored))
    if not all(isinstance(i, str) and _SHA256.fullmatch(i) for i in hashes):
        yield "a field that must be a SHA-256 is not one"
    if not card.splits or not set(card.splits) <= set(SPLITS) or card.loss_weighting not in get_args(LossWeighting):
        yield f"splits {sorted(card.splits)} or loss_weighting {card.loss_weighting!r} is invalid"


def split_problems(card: DatasetCard, split: str, found: Mapping[str, int]) -> Iterator[str]:
    """Yield the counts of a split that differ from those `found` in the sequences."""
    listed = card.splits.get(split)
    if listed is None:
        if any(found.values()):
            yield f"it does not list the split {split}, which has {counted(found['sequences'], 'sequence')}"
        return
    for name, count in found.items():
        if getattr(listed, name) != count:
            yield f"{split}: {name} is {getattr(listed, name)}, expected {count}"
    fill = found["tokens"] / max(1, found["sequences"] * card.context_length)
    if listed.fill != fill or not fill <= listed.best_fill <= 1:
        yield f"{split}: fill is {listed.fill} and best_fill {listed.best_fill}, the fill of the sequences is {fill}"


def _flat(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
