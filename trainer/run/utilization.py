"""What a step gets out of the devices: model FLOPs utilization (MFU), and memory.

MFU is the share of the devices' peak speed that the operations of the model account for (PaLM, arXiv 2204.02311,
appendix B): forward and backward pass, with attention only over the keys that each token may attend to, and without
padding and rematerialization. It is left out where the peak is not known: a guess would look like a measurement.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import jax

from schemas.vocab import Vocabulary
from trainer.config import ModelConfig
from trainer.model.registry import family_of

# Dense products in bfloat16 of one JAX device, in FLOP/s, by `device_kind`; from the vendors' data sheets. A chip of
# TPU v2 and v3 is two devices.
_PEAK_FLOPS = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
}


def peak_flops(device_kind: str) -> float | None:
    """Return the FLOP/s of a device in bfloat16, None if it is not known."""
    return _PEAK_FLOPS.get(device_kind)


class Utilization:
    """The MFU of the steps of one run. `peak` is the FLOP/s of one device; by default that of its kind."""

    def __init__(
        self, model: ModelConfig, vocabulary: Vocabulary, devices: Sequence[jax.Device], *, peak: float | None = None
    ) -> None:
        self._model, self._vocabulary, self._costs = model, vocabulary, family_of(model).costs
        known = peak or peak_flops(devices[0].device_kind)
        self._peak = None if known is None else known * len(devices)

    def of_step(self, *, tokens: int, keys: float, seconds: float) -> dict[str, float]:
        """Return `mfu` of a step, {} if it is not known.

        The batch has so many `tokens` without padding, which may attend to so many `keys` in total.
        """
        if self._peak is None or self._costs is None:
            return {}
        per_token = self._costs.flops_per_token(
            self._model,
            text_size=self._vocabulary.text_size,
            vision_size=self._vocabulary.vision_size,
            mean_span=keys / max(tokens, 1),
        )
        return {"mfu": per_token * tokens / (seconds * self._peak)}


def memory_in_use(devices: Sequence[jax.Device]) -> dict[str, int]:
    """Return the largest memory that was in use since the start on one of the devices of this process.

    A CPU does not tell: then it is the largest resident set of this process, under the name `peak_rss_bytes`.
    """
    stats = [device.memory_stats() for device in devices]
    peaks = [each["peak_bytes_in_use"] for each in stats if each and "peak_bytes_in_use" in each]
    if peaks:
        return {"device_memory_bytes": max(peaks)}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
