from __future__ import annotations

from typing import Any

import jax
import psutil
import pytest

from tests.support.training.packed_sequences import VOCABULARY
from trainer.config import ModelConfig
from trainer.model.llama.config import debug
from trainer.model.llama.costs import flops_per_token
from trainer.run.utilization import Utilization, memory_in_use, peak_flops


class Device:
    """A device of another platform: what JAX tells of it."""

    def __init__(self, kind: str, stats: dict[str, int] | None = None) -> None:
        self.device_kind, self._stats = kind, stats

    def memory_stats(self) -> dict[str, int] | None:
        return self._stats


def _mfu(devices: Any, *, peak: float | None = None, tokens: int = 1000, keys: float = 250_000) -> dict[str, float]:
    model: ModelConfig = debug()
    return Utilization(model, VOCABULARY, devices, peak=peak).of_step(tokens=tokens, keys=keys, seconds=2.0)


def test_mfu_is_the_share_of_the_peak_that_the_model_needs() -> None:
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    flops = 1000 * flops_per_token(debug(), **sizes, mean_span=250)
    assert _mfu([Device("NVIDIA H200")] * 4) == {"mfu": pytest.approx(flops / 2.0 / (4 * 989e12))}
    assert _mfu(jax.devices(), peak=1e9) == {"mfu": pytest.approx(flops / 2.0 / (8 * 1e9))}


def test_mfu_is_left_out_where_the_peak_is_not_known() -> None:
    assert peak_flops(jax.devices()[0].device_kind) is None
    assert _mfu(jax.devices()) == {}


def test_a_batch_of_padding_has_an_mfu_of_zero() -> None:
    assert _mfu(jax.devices(), peak=1e9, tokens=0, keys=0) == {"mfu": 0.0}


def test_memory_is_that_of_the_fullest_device() -> None:
    devices: Any = [Device("TPU v4", {"bytes_in_use": 1, "peak_bytes_in_use": n}) for n in (5, 7, 6)]
    assert memory_in_use(devices) == {"device_memory_bytes": 7}


def test_memory_of_a_cpu_is_that_of_the_process() -> None:
    (found,) = memory_in_use(jax.devices()).items()
    assert found[0] == "peak_rss_bytes"
    assert found[1] >= 0.9 * psutil.Process().memory_info().rss
