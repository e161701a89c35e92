"""Results survive their way through JSON."""

from __future__ import annotations

import json

from pipeline.evaluation.sample import Result


def test_a_result_is_the_same_after_json() -> None:
    result = Result(id="a", task="t", score=0.5, reply="é\n", references=("x", "y"), length=3, depth=0.25)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result
