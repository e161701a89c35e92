from __future__ import annotations

import pytest

from trainer.run.speed import Speed, matmul_flops_per_s, speed_of


def test_a_matrix_product_has_a_plausible_speed() -> None:
    assert 1e8 < matmul_flops_per_s("float32") < 1e16


def test_a_cpu_that_is_measured_reaches_a_larger_share_than_the_default() -> None:
    assert speed_of("float32", devices=8).utilization == 0.5
    assert speed_of("float32", devices=8, utilization=0.3).utilization == 0.3
    assert speed_of("float32", devices=8, flops_per_s=1e12) == Speed(
        flops_per_s=8e12, utilization=0.4, source="8 devices"
    )
    assert Speed(flops_per_s=8e12, utilization=0.4, source="").seconds(6.4e12) == pytest.approx(2.0)
