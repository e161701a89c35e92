from __future__ import annotations

from trainer.planning.speed import matmul_flops_per_s


def test_a_matrix_product_has_a_plausible_speed() -> None:
    assert 1e8 < matmul_flops_per_s("float32") < 1e16
