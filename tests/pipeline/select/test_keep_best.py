from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.select.config import SelectConfig
from pipeline.select.keep_best import KeepConfig, choose, clusters, containment_of, is_related, rank, shared_ranges
from pipeline.select.rules import Matches, judge_cluster
from schemas.errors import ConfigError
from schemas.records import SURVEY

Stretch = tuple[int, int]


def item(name: str, *, width: int = 640, bit_rate: float = 1e6, seconds: float = 10.0, **other: Any) -> dict[str, Any]:
    facts = {"uri": f"{name}.mp4", "kind": "video", "document_id": name, "content_id": name, "cluster": "c"}
    size = {"width": width, "height": width // 2, "duration_s": seconds, "measures": {"bit_rate": bit_rate}}
    return dict.fromkeys(SURVEY.names) | facts | size | other


def pair(a: str, b: str, containment_a: float, containment_b: float, **other: Any) -> dict[str, Any]:
    if a > b:
        a, b, containment_a, containment_b = b, a, containment_b, containment_a
    facts = {"similarity": 1.0, "kind": "video", "shared_a": [], "shared_b": []}
    return {"a": a, "b": b, "containment_a": containment_a, "containment_b": containment_b} | facts | other


def film(number: int, stretch: Stretch, width: int) -> dict[str, Any]:
    return item(f"{number:02d}", width=width, seconds=float(stretch[1] - stretch[0]))


def overlaps(stretches: list[Stretch]) -> list[dict[str, Any]]:
    """The pairs of items that show these stretches of one film."""
    pairs = []
    for (i, one), (j, other) in itertools.combinations(enumerate(stretches), 2):
        shared = min(one[1], other[1]) - max(one[0], other[0])
        if shared > 0:
            shares = shared / (one[1] - one[0]), shared / (other[1] - other[0])
            pairs.append(pair(f"{i:02d}", f"{j:02d}", *shares))
    return pairs


STRETCHES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1])), min_size=1, max_size=12
)


@given(STRETCHES, st.lists(st.sampled_from([320, 640, 1280]), min_size=12, max_size=12), st.randoms())
@settings(deadline=None, max_examples=150)
def test_what_is_set_aside_has_a_kept_item_in_its_place_and_no_kept_one_covers_another(
    stretches: list[Stretch], widths: list[int], order: random.Random
) -> None:
    rows = [film(i, s, w) for i, (s, w) in enumerate(zip(stretches, widths, strict=False))]
    pairs, config = overlaps(stretches), KeepConfig()
    beaten = choose(rows, pairs, config)
    kept = {row["content_id"] for row in rows} - set(beaten)
    for name, by in beaten.items():
        assert containment_of(name, by) >= config.min_containment
        (other,) = {by["a"], by["b"]} - {name}
        assert other in kept
        i, j = int(name), int(other)  # what a third item speaks for holds for the items themselves
        shared = min(stretches[i][1], stretches[j][1]) - max(stretches[i][0], stretches[j][0])
        assert shared / (stretches[i][1] - stretches[i][0]) >= containment_of(name, by) - 1e-9
    for p in pairs:
        if {p["a"], p["b"]} <= kept:
            assert max(p["containment_a"], p["containment_b"]) < config.min_containment
    order.shuffle(rows)
    order.shuffle(pairs)
    assert choose(rows, pairs, config) == beaten


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.floats(0, 1), st.floats(0, 1)), max_size=30),
    st.randoms(),
)
@settings(deadline=None, max_examples=100)
def test_shares_that_contradict_each_other_still_leave_each_item_kept_or_with_a_kept_one(
    given_pairs: list[tuple[int, int, float, float]], order: random.Random
) -> None:
    pairs = list({(i, j): pair(str(i), str(j), x, y) for i, j, x, y in given_pairs if i < j}.values())
    rows = [item(str(i)) for i in range(9)]
    beaten = choose(rows, pairs, KeepConfig())
    for name, by in beaten.items():
        assert ({by["a"], by["b"]} - {name}).pop() not in beaten
    order.shuffle(rows)
    order.shuffle(pairs)
    assert choose(rows, pairs, KeepConfig()) == beaten


@pytest.mark.parametrize(
    ("prefer", "kept"),
    [(("resolution", "bit_rate", "length"), "b"), (("bit_rate",), "c"), (("length",), "a"), ((), "a")],
)
def test_of_copies_the_one_that_is_preferred_is_kept(prefer: tuple[Any, ...], kept: str) -> None:
    rows = [item("a", seconds=11), item("b", width=1280), item("c", bit_rate=2e6)]
    pairs = [pair(x, y, 1.0, 0.95) for x, y in itertools.combinations("abc", 2)]
    assert set("abc") - set(choose(rows, pairs, KeepConfig(prefer=prefer))) == {kept}


def test_the_whole_is_kept_before_a_part_of_higher_resolution() -> None:
    rows = [item("part", width=1920, seconds=5), item("whole", seconds=60)]
    assert set(choose(rows, [pair("part", "whole", 1.0, 0.08)], KeepConfig())) == {"part"}


def test_a_part_of_a_copy_that_gave_way_is_measured_against_the_kept_one() -> None:
    """The better copy lacks the end of the other, which the part is from; the part stays."""
    rows = [item("better", width=1280, seconds=85), item("copy", seconds=100), item("part", seconds=10)]
    pairs = [pair("better", "copy", 1.0, 0.85), pair("copy", "part", 0.1, 1.0)]
    assert set(choose(rows, pairs, KeepConfig())) == {"copy"}


def test_copies_that_were_never_compared_are_found_through_a_third() -> None:
    rows = [item("best", width=1920), item("hub"), *(item(f"x{i}") for i in range(20))]
    pairs = [pair("best", "hub", 0.97, 0.97), *(pair("hub", f"x{i}", 0.97, 0.97) for i in range(20))]
    beaten = choose(rows, pairs, KeepConfig())
    assert set(beaten) == {row["content_id"] for row in rows} - {"best"}
    assert beaten["x7"]["containment_b"] == pytest.approx(0.94)
    distant = [pair("best", "hub", 0.85, 0.85), *pairs[1:]]  # 0.97 - 0.15: enough for 0.8, and not for 0.83
    assert len(choose(rows, distant, KeepConfig())) == 21
    beaten = choose(rows, distant, KeepConfig(min_containment=0.83))
    assert set(beaten) == {"hub", *(f"x{i}" for i in range(1, 20))}  # one of the others is kept, and has the rest


def test_pairs_that_are_not_alike_enough_do_not_count() -> None:
    pairs = [pair("a", "b", 1.0, 1.0, similarity=0.9)]
    assert choose([item("a"), item("b")], pairs, KeepConfig(min_similarity=0.95)) == {}


def test_a_shared_title_card_does_not_bring_videos_into_one_cluster() -> None:
    pairs = [pair("a", "b", 0.05, 0.08), pair("c", "d", 0.05, 0.3), pair("e", "f", 0.01, 0.01, kind="book")]
    assert [is_related(p, KeepConfig()) for p in pairs] == [False, True, True]
    matches = Matches.of(pairs, KeepConfig())
    assert matches.join(item("b"))["cluster"] == "b"
    assert matches.join(item("d"))["cluster"] == "c"


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=30))
def test_clusters_are_the_connected_parts_by_their_smallest_name(edges: list[tuple[int, int]]) -> None:
    found = clusters({"a": f"{min(e):02d}", "b": f"{max(e):02d}"} for e in edges)
    reach = {name: {name} for e in edges for name in (f"{e[0]:02d}", f"{e[1]:02d}")}
    for _ in reach:
        for i, j in edges:
            both = reach[f"{i:02d}"] | reach[f"{j:02d}"]
            reach[f"{i:02d}"] = reach[f"{j:02d}"] = both
        for name in reach:
            reach[name] = set().union(*(reach[other] for other in reach[name]))
    assert found == {name: min(reach[name]) for name in reach}


def test_an_equal_copy_of_one_that_gave_way_names_the_kept_one() -> None:
    rows = [item("best", width=1920), item("poor"), item("poor") | {"uri": "again.mp4", "document_id": "other"}]
    judged = {row["uri"]: row for row in judge_cluster(rows, [pair("best", "poor", 1.0, 1.0)], SelectConfig())}
    assert judged["best.mp4"]["reason"] is None
    assert {judged[uri]["keeper"] for uri in ("poor.mp4", "again.mp4")} == {"best"}
    assert {judged[uri]["reason"] for uri in ("poor.mp4", "again.mp4")} == {"duplicate", "near_duplicate"}


def test_a_copy_that_is_unusable_sets_nothing_aside() -> None:
    rows = [item("best", width=1920, measures={"brightness": 0.0}), item("poor")]
    judged = {row["uri"]: row["reason"] for row in judge_cluster(rows, [pair("best", "poor", 1, 1)], SelectConfig())}
    assert judged == {"best.mp4": "black", "poor.mp4": None}


def test_of_a_book_what_a_better_one_has_too_is_cut_once() -> None:
    ranges = [{"start": 10.0, "end": 50.0}, {"start": 40.0, "end": 60.0}, {"start": 90.0, "end": 95.0}]
    kept = {"a": (0,), "b": (1,)}
    given_pair = pair("a", "b", 0.1, 0.2, kind="book", shared_b=ranges, shared_a=[{"start": 1.0, "end": 5.0}])
    assert [(c["start"], c["end"]) for c in shared_ranges("b", kept, [given_pair])] == [(10, 60), (90, 95)]
    assert shared_ranges("a", kept, [given_pair]) == []
    assert shared_ranges("b", {"b": (1,)}, [given_pair]) == []


@pytest.mark.parametrize(
    "wrong", [{"min_containment": 0}, {"min_similarity": 2}, {"cluster_containment": -1}, {"prefer": ("size",)}]
)
def test_impossible_configurations_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        KeepConfig(**wrong)


def test_rank_ends_with_the_address() -> None:
    assert rank(item("a"), ())[-1] == "a.mp4"
