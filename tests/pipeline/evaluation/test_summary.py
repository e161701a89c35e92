"""Means by task, length and depth, and the comparison of two models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.sample import Result
from pipeline.evaluation.summary import compare, summarize
from schemas.errors import ConfigError


def results(share: float, *, seed: int = 0, count: int = 60) -> list[Result]:
    rng = np.random.default_rng(seed)
    return [
        Result(
            id=f"{n}",
            task=("a", "b")[n % 2],
            score=float(rng.random() < share),
            reply="",
            references=("x",),
            length=(100, 200, 300)[n % 3],
            depth=0.5 * (n % 4 // 2),
        )
        for n in range(count)
    ]


def test_figures_are_those_of_their_samples() -> None:
    found = results(0.7)
    summary = summarize(found)
    assert summary["all"]["score"] == pytest.approx(np.mean([one.score for one in found]))
    assert [row["task"] for row in summary["tasks"]] == ["a", "b"]
    assert sum(row["samples"] for row in summary["cells"]) == 60
    for row in summary["cells"]:
        mine = [r.score for r in found if (r.task, r.length, r.depth) == (row["task"], row["length"], row["depth"])]
        assert (row["samples"], row["score"]) == (len(mine), pytest.approx(np.mean(mine)))
        assert row["low"] <= row["score"] <= row["high"]


def test_refusals_are_counted() -> None:
    found = [replace(one, refused="no", score=0.0) if i < 3 else one for i, one in enumerate(results(1.0))]
    assert (summarize(found)["all"]["refused"], summarize(found)["all"]["score"]) == (3, 57 / 60)


def test_a_better_model_is_told_from_an_equal_one() -> None:
    rows = compare(results(0.3), results(0.9, seed=1))
    assert [row["task"] for row in rows] == ["all", "a", "b"]
    assert rows[0]["samples"] == 60
    assert rows[0]["low"] > 0
    assert rows[0]["difference"] == pytest.approx(rows[0]["second"] - rows[0]["first"])
    same = compare(results(0.5), results(0.5))[0]
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_only_common_samples_with_the_same_answers_are_compared() -> None:
    found = results(0.5)
    assert compare(found, found[10:30])[0]["samples"] == 20
    with pytest.raises(ConfigError, match="no sample in common"):
        compare(found, [replace(one, id=f"other {one.id}") for one in found])
    with pytest.raises(ConfigError, match=r"the answers of 1 sample differ .*\(the first is 3\)"):
        compare(found, [replace(one, references=("y",)) if one.id == "3" else one for one in found])
