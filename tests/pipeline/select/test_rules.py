"""The verdicts on single rows and on clusters, and the choice of the split."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.pairs import Pair
from pipeline.select.config import SelectConfig
from pipeline.select.keep_best import KeepConfig
from pipeline.select.rules import Clusters, choose_split, content_of, judge, judge_cluster
from schemas.errors import Reason
from schemas.rows import SurveyRow
from tests.support.survey_rows import Row, book, broken, pair, select_config, typed, video


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"duration_s": 0.5}, Reason.TOO_SHORT),
        ({"duration_s": 1.0}, None),
        ({"duration_s": 5 * 3600.0}, Reason.TOO_LONG),
        ({"duration_s": None}, None),  # unknown until the video is decoded
        ({"width": 63}, Reason.TOO_SMALL),
        ({"height": 64}, None),
        ({"measures": {"brightness": 3.0}}, Reason.BLACK),
        ({"kind": "image", "duration_s": None}, None),
        ({"kind": "book", "width": None, "height": None, "measures": None}, None),
        ({"kind": "qa", "width": None, "height": None, "measures": None}, None),
        ({"reason": "crashed", "detail": "signal 11"}, Reason.CRASHED),
    ],
)
def test_an_item_is_kept_up_to_the_bounds_of_the_default_limits(changes: dict[str, Any], reason: Reason | None) -> None:
    verdict = judge(typed(video(**changes)), SelectConfig())
    assert (verdict and verdict[0]) == reason


def judged(
    rows: list[Row], pairs: list[Pair], config: SelectConfig | None = None, absent: Collection[str] = ()
) -> dict[str, Row]:
    """Judge the rows of one cluster; their judged rows by address."""
    config = config or SelectConfig()
    joined = [Clusters.of(pairs, config.keep).join(typed(row)) for row in rows]
    found = [row.to_row() for row in judge_cluster(joined, pairs, config, absent=absent)]
    assert sorted(r["uri"] for r in found) == sorted(r["uri"] for r in rows)
    return {row["uri"]: row for row in found}


def test_the_first_address_of_equal_items_is_kept() -> None:
    same = {"content_id": "c", "document_id": "d"}
    rows = [video("c.mp4", **same), video("a.mp4", **same), video("b.mp4", content_id="c")]
    found = judged(rows, [])
    assert found["a.mp4"]["reason"] is None
    assert found["b.mp4"]["reason"] == found["c.mp4"]["reason"] == "duplicate"
    assert found["b.mp4"]["detail"] == "same content as a.mp4"
    assert found["c.mp4"]["detail"] == "same bytes as a.mp4"
    assert found["c.mp4"]["kept_content_id"] == "c"


def test_a_present_copy_is_kept_instead_of_an_absent_one_and_decides_the_split() -> None:
    same = {"content_id": "c", "document_id": "d"}
    rows = [video("a.mp4", split="train", **same), video("moved.mp4", split="val", **same)]
    found = judged(rows, [], absent=("a.mp4",))
    assert (found["moved.mp4"]["reason"], found["moved.mp4"]["split"]) == (None, "val")
    assert found["a.mp4"]["detail"] == "same bytes as moved.mp4"


def test_an_absent_item_stays_kept_instead_of_a_copy_with_other_bytes() -> None:
    rows = [video("a.mp4", content_id="c", document_id="d"), video("b.mp4", content_id="c", document_id="e")]
    assert judged(rows, [], absent=("a.mp4",))["b.mp4"]["detail"] == "same content as a.mp4"


def test_an_unusable_item_does_not_reject_its_duplicate() -> None:
    rows = [video("a.mp4", content_id="c", reason="timeout"), video("b.mp4", content_id="c")]
    reasons = {uri: row["reason"] for uri, row in judged(rows, []).items()}
    assert reasons == {"a.mp4": "timeout", "b.mp4": None}


def test_the_better_of_two_near_duplicates_is_kept() -> None:
    small, large = video("a.mp4", width=320, height=180), video("b.mp4")
    pairs = [pair(small, large, of_one=0.93, of_other=0.9, similarity=0.97)]
    found = judged([small, large], pairs)
    assert found["b.mp4"]["reason"] is found["b.mp4"]["kept_content_id"] is None
    assert found["a.mp4"]["reason"] == "near_duplicate"
    assert found["a.mp4"]["detail"] == "b.mp4 contains 93% of it with a similarity of 97%"
    assert found["a.mp4"]["kept_content_id"] == large["content_id"]


@pytest.mark.parametrize(
    ("keep", "reasons"),
    [
        ({"prefer": ("length",)}, {"a.mp4": None, "b.mp4": "near_duplicate"}),  # equal length: the address decides
        ({"min_containment": 0.91}, {"a.mp4": None, "b.mp4": None}),
        ({"min_similarity": 0.96}, {"a.mp4": None, "b.mp4": None}),
        ({"remove_near_duplicates": False}, {"a.mp4": None, "b.mp4": None}),
        ({}, {"a.mp4": "near_duplicate", "b.mp4": None}),
    ],
)
def test_options_decide_what_a_near_duplicate_is_and_which_is_kept(
    keep: dict[str, Any], reasons: dict[str, str | None]
) -> None:
    small, large = video("a.mp4", width=320, height=180), video("b.mp4")
    found = judged([small, large], [pair(small, large)], SelectConfig(keep=KeepConfig(**keep)))
    assert {uri: row["reason"] for uri, row in found.items()} == reasons
    assert "min_similarity" in keep or found["a.mp4"]["cluster"] == found["b.mp4"]["cluster"]


def test_a_part_is_rejected_whatever_its_quality() -> None:
    part, whole = video("part.mp4", width=1920, height=1080), video("whole.mp4", duration_s=60.0)
    found = judged([part, whole], [pair(part, whole, of_one=1.0, of_other=0.2)])
    assert {uri: row["reason"] for uri, row in found.items()} == {"part.mp4": "near_duplicate", "whole.mp4": None}


def test_a_duplicate_of_a_near_duplicate_refers_to_the_kept_item() -> None:
    large, small = video("large.mp4"), video("small.mp4", width=320, height=180)
    twin = video("twin.mp4", width=320, height=180, content_id=small["content_id"])
    found = judged([large, small, twin], [pair(large, small)])
    assert found["twin.mp4"]["reason"] == "duplicate"
    assert found["twin.mp4"]["detail"] == "same content as small.mp4"
    assert found["twin.mp4"]["kept_content_id"] == found["small.mp4"]["kept_content_id"] == large["content_id"]


def test_an_item_that_a_filter_rejects_does_not_reject_its_copies() -> None:
    dark, good = video("dark.mp4", width=1280, height=720, measures={"brightness": 1.0}), video("good.mp4")
    found = judged([dark, good], [pair(dark, good)])
    assert {uri: row["reason"] for uri, row in found.items()} == {"dark.mp4": "black", "good.mp4": None}


def test_passages_that_a_better_book_contains_are_removed() -> None:
    header = {"start": 0, "end": 40, "reason": "boilerplate", "detail": "a header"}
    long = book("long.txt", measures={"characters": 90_000.0})
    short = book("short.txt", measures={"characters": 60_000.0}, cuts=[header])
    shared = pair(long, short, of_one=0.1, of_other=0.2)
    name = "shared_a" if shared.a == short["content_id"] else "shared_b"
    ranges: dict[str, Any] = {name: ((100.0, 900.0), (900.0, 1000.0), (5000.0, 6000.0))}
    shared = replace(shared, **ranges)
    found = judged([long, short], [shared])
    by = f"{long['content_id']} contains this passage"
    assert [row["reason"] for row in found.values()] == [None, None]
    assert found["long.txt"]["cuts"] is None
    assert found["short.txt"]["cuts"] == [
        header,
        {"start": 100, "end": 1000, "reason": "near_duplicate", "detail": by},
        {"start": 5000, "end": 6000, "reason": "near_duplicate", "detail": by},
    ]
    assert judged([long, short], [shared], SelectConfig(keep=KeepConfig(remove_near_duplicates=False)))["short.txt"][
        "cuts"
    ] == [header]
    alone = judged([long | {"license": "x"}, short | {"license": "y"}], [shared], select_config(licenses=("y",)))
    assert alone["short.txt"]["cuts"] == [header]  # a rejected book removes no passage


@given(st.lists(st.text(min_size=1, max_size=8), min_size=200, max_size=200, unique=True), st.integers(0, 3))
@settings(deadline=None, max_examples=5)
def test_the_share_of_held_out_items_is_about_val_fraction_and_repeatable(names: list[str], seed: int) -> None:
    config = SelectConfig(val_fraction=0.3, split_seed=seed)
    splits = [choose_split(typed(video(cluster=name)), config) for name in names]
    assert 25 <= splits.count("val") <= 100  # 60 expected; both borders are 5 standard deviations away
    assert splits == [choose_split(typed(video(cluster=name)), config) for name in names]


def test_the_split_of_the_manifest_takes_precedence() -> None:
    assert choose_split(typed(video(split="val")), SelectConfig(val_fraction=0)) == "val"
    assert choose_split(typed(video(split="train")), SelectConfig(val_fraction=0.999), ["val", "train"]) == "train"


links = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from([0.1, 0.85, 1.0])), max_size=14)
named = st.lists(st.sampled_from([None, None, None, "train", "val"]), min_size=12, max_size=12)


@given(links, named, st.integers(0, 5), st.booleans())
@settings(deadline=None, max_examples=80)
def test_items_that_share_content_are_in_one_split_unless_the_manifest_says_otherwise(
    links: list[tuple[int, int, float]], named: list[str | None], seed: int, near: bool
) -> None:
    rows = [video(f"{n}.mp4", split=split, content_id=f"c{n // 2 if n < 4 else n}") for n, split in enumerate(named)]
    pairs = [pair(rows[a], rows[b], of_one=share) for a, b, share in links if rows[a] != rows[b]]
    pairs = [p for p in pairs if p.a != p.b]
    config = SelectConfig(val_fraction=0.5, split_seed=seed, keep=KeepConfig(remove_near_duplicates=near))
    found_clusters = Clusters.of(pairs, config.keep)
    groups: dict[str, list[SurveyRow]] = {}
    for row in map(found_clusters.join, map(typed, rows)):
        groups.setdefault(found_clusters.cluster_of(content_of(row)), []).append(row)
    for cluster, members in groups.items():
        found = list(judge_cluster(members, found_clusters.pairs.get(cluster, ()), config))
        assert sorted(row.uri for row in found) == sorted(row.uri for row in members)
        kept = {row.content_id: row.split for row in found if not row.reason}
        given = {row.split for row in members if row.split}
        assert kept
        assert len(set(kept.values())) == 1 or len(given) == 2
        assert not given or set(kept.values()) <= given
        assert all(row.kept_content_id in kept for row in found if row.reason)


def test_an_item_joins_the_cluster_of_those_it_shares_enough_content_with() -> None:
    a, b, c, d = (video(f"{name}.mp4", content_id=name) for name in "abcd")
    found = Clusters.of([pair(a, b, of_one=0.05, of_other=0.08), pair(c, d, of_one=0.05, of_other=0.3)], KeepConfig())
    assert found.join(typed(b)).cluster == "b"
    assert found.join(typed(d)).cluster == "c"
    assert [p.a for p in found.pairs["c"]] == ["c"]


def test_an_item_without_content_is_a_cluster_of_its_own() -> None:
    found = Clusters.of([], KeepConfig()).join(typed(broken("gone.mp4", "missing", "no file")))
    assert found.content_id == found.cluster == "gone.mp4"
