from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.select import SelectConfig, choose_split, judge, judge_cluster
from schemas.errors import ConfigError, Reason
from schemas.records import SURVEY


def video(**changes: Any) -> dict[str, Any]:
    plain = {"uri": "a.mp4", "kind": "video", "document_id": "d", "content_id": "c", "cluster": "c"}
    facts = {"duration_s": 10.0, "width": 640, "height": 360, "measures": {"brightness": 90.0}}
    return dict.fromkeys(SURVEY.names) | plain | facts | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"duration_s": 0.5}, Reason.TOO_SHORT),
        ({"duration_s": 1.0}, None),
        ({"duration_s": 5 * 3600.0}, Reason.TOO_LONG),
        ({"duration_s": None}, None),  # a stream that does not say; decoding will tell
        ({"width": 63}, Reason.TOO_SMALL),
        ({"height": 64}, None),
        ({"measures": {"brightness": 3.0}}, Reason.BLACK),
        ({"kind": "image", "duration_s": 0.0}, None),
        ({"kind": "book", "width": None, "height": None, "measures": None}, None),
        ({"kind": "qa", "width": None, "height": None, "measures": None}, None),
        ({"reason": "crashed", "detail": "signal 11"}, Reason.CRASHED),
    ],
)
def test_each_rule_at_its_border(changes: dict[str, Any], reason: Reason | None) -> None:
    verdict = judge(video(**changes), SelectConfig())
    assert (verdict and verdict[0]) == reason


def test_of_equal_content_the_smallest_address_goes_on() -> None:
    rows = [video(uri="c.mp4"), video(uri="a.mp4"), video(uri="b.mp4")]
    judged = {row["uri"]: row for row in judge_cluster(rows, [], SelectConfig())}
    assert judged["a.mp4"]["reason"] is None
    assert judged["b.mp4"]["reason"] == judged["c.mp4"]["reason"] == "duplicate"
    assert judged["c.mp4"]["detail"] == "same bytes as a.mp4"


def test_a_row_set_aside_does_not_take_its_twin_with_it() -> None:
    rows = [video(uri="a.mp4", reason="timeout"), video(uri="b.mp4")]
    reasons = {row["uri"]: row["reason"] for row in judge_cluster(rows, [], SelectConfig())}
    assert reasons == {"a.mp4": "timeout", "b.mp4": None}


@given(st.lists(st.text(min_size=1, max_size=8), min_size=200, max_size=200, unique=True), st.integers(0, 3))
@settings(deadline=None, max_examples=10)
def test_the_held_out_share_is_about_what_was_asked_and_stays(names: list[str], seed: int) -> None:
    config = SelectConfig(val_fraction=0.3, split_seed=seed)
    splits = [choose_split(video(cluster=name), config) for name in names]
    assert 25 <= splits.count("val") <= 100  # 60 expected; both borders are 5 standard deviations away
    assert splits == [choose_split(video(cluster=name), config) for name in names]


def test_the_manifests_split_wins() -> None:
    assert choose_split(video(split="val"), SelectConfig(val_fraction=0)) == "val"


@pytest.mark.parametrize("wrong", [{"val_fraction": 1.0}, {"set": ("duration_s=5:1",)}, {"set": ("duration_s=5",)}])
def test_impossible_rules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="val_fraction|MIN:MAX"):
        SelectConfig(**wrong)
