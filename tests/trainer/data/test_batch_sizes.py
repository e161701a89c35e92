from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from trainer.data.batch_sizes import BatchSize, BatchSizes


@given(
    first=st.integers(1, 5),
    ramp=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), max_size=4, unique_by=lambda part: part[0]),
)
def test_samples_are_the_sum_of_the_batches_before_a_step(first: int, ramp: list[tuple[int, int]]) -> None:
    sizes = BatchSizes.of(first, [BatchSize(*part) for part in sorted(ramp)])
    samples = 0
    for step in range(30):
        assert sizes.samples(step) == samples
        for left in range(sizes.at(step)):
            assert sizes.steps(samples + left) == step
        samples += sizes.at(step)


def test_sizes_are_spelled_and_listed() -> None:
    sizes = BatchSizes.of(8, [BatchSize.parse("100:16"), BatchSize.parse("200:8")])
    assert str(sizes.parts[1]) == "100:16"
    assert sizes.sizes == [8, 16]
    assert [sizes.at(step) for step in (0, 99, 100, 199, 200)] == [8, 8, 16, 16, 8]


@pytest.mark.parametrize("text", ["16", "1:0", "-1:4", "a:4", "4:1.5", "1:2:3"])
def test_a_batch_size_that_is_spelled_wrong_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match="STEP:SIZE"):
        BatchSize.parse(text)


@pytest.mark.parametrize("steps", [[0], [5, 5], [5, 3]])
def test_steps_of_a_ramp_ascend(steps: list[int]) -> None:
    with pytest.raises(ConfigError, match="must ascend"):
        BatchSizes.of(4, [BatchSize(step, 8) for step in steps])
