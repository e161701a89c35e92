"""Tests of virtual CPU devices."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest

from schemas.errors import ConfigError
from trainer.cpu_devices import use_cpu_devices


def test_the_number_of_devices_cannot_change_once_jax_has_started() -> None:
    assert jax.device_count() == 8
    use_cpu_devices(None)
    use_cpu_devices(8)
    with pytest.raises(ConfigError, match="devices is 4, but JAX has already started with 8"):
        use_cpu_devices(4)


def test_the_number_of_devices_is_set_before_jax_starts() -> None:
    code = "from trainer.cpu_devices import use_cpu_devices; import jax; use_cpu_devices(3); print(jax.device_count())"
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "JAX_PLATFORMS")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_time_limits_of_collectives_are_raised_unless_the_user_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    warn, end = (f"--xla_cpu_collective_call_{name}_timeout_seconds" for name in ("warn_stuck", "terminate"))
    monkeypatch.delenv("XLA_FLAGS")
    use_cpu_devices(8)
    assert os.environ["XLA_FLAGS"] == f"{warn}=1800 {end}=3600"
    monkeypatch.setenv("XLA_FLAGS", f"{warn}=5")
    use_cpu_devices(8)
    assert os.environ["XLA_FLAGS"] == f"{warn}=5 {end}=3600"
