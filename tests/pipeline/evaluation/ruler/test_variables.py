"""Variable tracking: the example and the question have variables of their own."""

from __future__ import annotations

import random

from pipeline.evaluation.ruler.task import Material
from pipeline.evaluation.ruler.variables import VariableTracking


def test_the_example_is_solved_and_shares_nothing_with_the_question() -> None:
    question = VariableTracking(hops=2).make(10, random.Random(0), Material(None, 4096))
    example, asked = question.prompt.split("\n\nFollow", 1)
    solution = example.rsplit("Answer: ", 1)[1].split(", ")
    assert len(solution) == len(question.answers) == 3
    assert not set(solution) & set(question.answers)
    assert all(asked.count(name) == (1 if name == question.answers[-1] else 2) for name in question.answers)
    assert asked.endswith("Answer:")
