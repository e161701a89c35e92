"""Pairs: which side is which, and the table that holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dedup.pairs import Pair, pairs_table, read_pairs
from pipeline.dedup.similarity import Shared
from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError
from schemas.tables import write_table
from tests.support.signatures import scene, signature

PAIR = Pair(
    a="1",
    b="2",
    kind="video",
    containment_a=0.5,
    containment_b=0.75,
    similarity=0.9,
    shared_a=((0.0, 2.0), (5.0, 6.0)),
    shared_b=((1.0, 4.0),),
)


def test_each_item_has_its_side() -> None:
    assert (PAIR.other("1"), PAIR.other("2")) == ("2", "1")
    assert (PAIR.containment_of("1"), PAIR.containment_of("2")) == (0.5, 0.75)
    assert (PAIR.shared_ranges_of("1"), PAIR.shared_ranges_of("2")) == (PAIR.shared_a, PAIR.shared_b)


def test_a_pair_is_made_of_two_signatures_and_what_they_share() -> None:
    a, b = signature("a", scene(1, 1)), signature("b", scene(2, 1))
    shared = Shared(0.5, 0.75, 0.9, ((0.0, 2.0),), ((1.0, 4.0),))
    pair = Pair.of(a, b, shared)
    assert (pair.a, pair.b, pair.kind) == (a.content_id, b.content_id, "video")
    assert (pair.containment_a, pair.containment_b, pair.similarity) == (0.5, 0.75, 0.9)
    assert (pair.shared_a, pair.shared_b) == (shared.shared_a, shared.shared_b)


def test_a_table_of_pairs_reads_back(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    assert read_pairs(workspace) == []
    pairs = [PAIR, replace(PAIR, b="3", shared_a=(), shared_b=())]
    write_table(workspace.pairs, pairs_table(pairs))
    assert read_pairs(workspace) == pairs
    write_table(workspace.pairs, pairs_table([]))
    assert read_pairs(workspace) == []


def test_a_damaged_table_raises(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    workspace.pairs.local().write_bytes(b"no table")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_pairs(workspace)
