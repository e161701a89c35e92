"""Which copies are kept: near-duplicates, clusters, preference, and duplicate passages of books."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.pairs import Pair
from pipeline.select.keep_best import (
    KeepConfig,
    Rank,
    choose,
    clusters,
    duplicate_passages,
    is_related,
    rank,
)
from schemas.errors import ConfigError
from tests.support.survey_rows import Row, typed, video

Interval = tuple[int, int]  # of one film


def item(name: str, *, width: int = 640, bit_rate: float = 1e6, seconds: float = 10.0, **other: Any) -> Row:
    size = {"width": width, "height": width // 2, "duration_s": seconds, "measures": {"bit_rate": bit_rate}}
    return video(f"{name}.mp4", document_id=name, content_id=name, **size | other)


def pair(a: str, b: str, containment_a: float, containment_b: float, **other: Any) -> Pair:
    (a, of_a), (b, of_b) = sorted([(a, containment_a), (b, containment_b)])
    facts: dict[str, Any] = {"similarity": 1.0, "kind": "video"} | other
    return Pair(a=a, b=b, containment_a=of_a, containment_b=of_b, **facts)


def ranks(rows: list[Row], config: KeepConfig) -> dict[str, Rank]:
    return {row["content_id"]: rank(typed(row), config.prefer) for row in rows}


def rejected(rows: list[Row], pairs: list[Pair], **options: Any) -> dict[str, Pair]:
    """Return the rejected items with the pair that decides about each."""
    config = KeepConfig(**options)
    return choose(ranks(rows, config), pairs, config)


def film(number: int, interval: Interval, width: int) -> Row:
    return item(f"{number:02d}", width=width, seconds=float(interval[1] - interval[0]))


def overlaps(intervals: list[Interval]) -> list[Pair]:
    """The pairs of items that show these intervals of one film."""
    pairs = []
    for (i, one), (j, other) in itertools.combinations(enumerate(intervals), 2):
        shared = min(one[1], other[1]) - max(one[0], other[0])
        if shared > 0:
            shares = shared / (one[1] - one[0]), shared / (other[1] - other[0])
            pairs.append(pair(f"{i:02d}", f"{j:02d}", *shares))
    return pairs


INTERVALS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1])), min_size=1, max_size=12
)


@pytest.mark.slow
@given(INTERVALS, st.lists(st.sampled_from([320, 640, 1280]), min_size=12, max_size=12), st.randoms())
@settings(deadline=None, max_examples=150)
def test_every_rejected_item_duplicates_a_kept_one_and_no_kept_item_duplicates_another(
    intervals: list[Interval], widths: list[int], order: random.Random
) -> None:
    rows = [film(i, s, w) for i, (s, w) in enumerate(zip(intervals, widths, strict=False))]
    pairs, least = overlaps(intervals), KeepConfig().min_containment
    found = rejected(rows, pairs)
    kept = {row["content_id"] for row in rows} - set(found)
    for name, by in found.items():
        assert by.containment_of(name) >= least
        assert by.other(name) in kept
        i, j = int(name), int(by.other(name))  # an inferred containment is a lower bound of the true one
        shared = min(intervals[i][1], intervals[j][1]) - max(intervals[i][0], intervals[j][0])
        assert shared / (intervals[i][1] - intervals[i][0]) >= by.containment_of(name) - 1e-9
    for p in pairs:
        if {p.a, p.b} <= kept:
            assert max(p.containment_a, p.containment_b) < least
    order.shuffle(rows)
    order.shuffle(pairs)
    assert rejected(rows, pairs) == found


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.floats(0, 1), st.floats(0, 1)), max_size=30),
    st.randoms(),
)
@settings(deadline=None, max_examples=100)
def test_inconsistent_containments_still_reject_only_duplicates_of_kept_items(
    given_pairs: list[tuple[int, int, float, float]], order: random.Random
) -> None:
    pairs = list({(i, j): pair(str(i), str(j), x, y) for i, j, x, y in given_pairs if i < j}.values())
    rows = [item(str(i)) for i in range(9)]
    found = rejected(rows, pairs)
    for name, by in found.items():
        assert by.other(name) not in found
    order.shuffle(rows)
    order.shuffle(pairs)
    assert rejected(rows, pairs) == found


@pytest.mark.parametrize(
    ("prefer", "kept"),
    [(("resolution", "bit_rate", "length"), "b"), (("bit_rate",), "c"), (("length",), "a"), ((), "a")],
)
def test_the_preferred_copy_is_kept(prefer: tuple[Any, ...], kept: str) -> None:
    rows = [item("a", seconds=11), item("b", width=1280), item("c", bit_rate=2e6)]
    pairs = [pair(x, y, 1.0, 0.95) for x, y in itertools.combinations("abc", 2)]
    assert set("abc") - set(rejected(rows, pairs, prefer=prefer)) == {kept}


def test_a_whole_video_is_kept_rather_than_a_part_of_higher_resolution() -> None:
    rows = [item("part", width=1920, seconds=5), item("whole", seconds=60)]
    assert set(rejected(rows, [pair("part", "whole", 1.0, 0.08)])) == {"part"}


def test_a_part_of_a_rejected_copy_is_kept_if_the_kept_copy_lacks_it() -> None:
    """The better copy lacks the end of the other one, from which the part is."""
    rows = [item("better", width=1280, seconds=85), item("copy", seconds=100), item("part", seconds=10)]
    pairs = [pair("better", "copy", 1.0, 0.85), pair("copy", "part", 0.1, 1.0)]
    assert set(rejected(rows, pairs)) == {"copy"}


def test_containment_of_items_that_were_not_compared_is_inferred_through_a_third() -> None:
    rows = [item("best", width=1920), item("hub"), *(item(f"x{i}") for i in range(20))]
    pairs = [pair("best", "hub", 0.97, 0.97), *(pair("hub", f"x{i}", 0.97, 0.97) for i in range(20))]
    found = rejected(rows, pairs)
    assert set(found) == {row["content_id"] for row in rows} - {"best"}
    assert found["x7"].containment_b == pytest.approx(0.94)
    distant = [pair("best", "hub", 0.85, 0.85), *pairs[1:]]  # 0.97 - 0.15 is enough for 0.8, but not for 0.83
    assert len(rejected(rows, distant)) == 21
    found = rejected(rows, distant, min_containment=0.83)
    assert set(found) == {"hub", *(f"x{i}" for i in range(1, 20))}  # x0 is kept, and duplicated by the others


def test_pairs_below_the_minimum_similarity_are_ignored() -> None:
    pairs = [pair("a", "b", 1.0, 1.0, similarity=0.9)]
    assert rejected([item("a"), item("b")], pairs, min_similarity=0.95) == {}


def test_a_shared_title_card_does_not_relate_videos() -> None:
    pairs = [pair("a", "b", 0.05, 0.08), pair("c", "d", 0.05, 0.3), pair("e", "f", 0.01, 0.01, kind="book")]
    assert [is_related(p, KeepConfig()) for p in pairs] == [False, True, True]


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=30))
def test_clusters_are_connected_components_named_by_their_smallest_member(edges: list[tuple[int, int]]) -> None:
    found = clusters((f"{i:02d}", f"{j:02d}") for i, j in edges)
    reach = {name: {name} for e in edges for name in (f"{e[0]:02d}", f"{e[1]:02d}")}
    for _ in reach:
        for i, j in edges:
            both = reach[f"{i:02d}"] | reach[f"{j:02d}"]
            reach[f"{i:02d}"] = reach[f"{j:02d}"] = both
        for name in reach:
            reach[name] = set().union(*(reach[other] for other in reach[name]))
    assert found == {name: min(reach[name]) for name in reach}


def test_duplicate_passages_are_those_that_a_better_kept_book_contains() -> None:
    kept: dict[str, Rank] = {"a": (0,), "b": (1,)}
    shared = ((10.0, 50.0), (40.0, 60.0), (90.0, 95.0))
    given_pair = pair("a", "b", 0.1, 0.2, kind="book", shared_b=shared, shared_a=((1.0, 5.0),))
    assert duplicate_passages("b", kept, [given_pair]) == [(10, 60, "a"), (90, 95, "a")]
    assert duplicate_passages("a", kept, [given_pair]) == []
    assert duplicate_passages("b", {"b": (1,)}, [given_pair]) == []


@pytest.mark.parametrize(
    "wrong", [{"min_containment": 0}, {"min_similarity": 2}, {"cluster_containment": -1}, {"prefer": ("size",)}]
)
def test_an_option_out_of_range_raises_with_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        KeepConfig(**wrong)


def test_copies_of_equal_rank_are_sorted_by_address() -> None:
    assert rank(typed(item("a")), ())[-1] == "a.mp4"
