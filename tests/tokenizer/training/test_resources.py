from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.errors import ConfigError, StorageError
from tests.support.vqgan.tokenizer_training import config
from tokenizer.training.resources import device_count, require_disk_space


def test_all_devices_are_used_unless_a_number_is_given() -> None:
    assert device_count(config(devices=None)) == 8
    assert device_count(config(devices=2)) == 2


def test_a_number_of_devices_that_does_not_fit_is_rejected() -> None:
    with pytest.raises(ConfigError, match="devices is 16, but JAX finds 8"):
        device_count(config(devices=16, batch=16))
    with pytest.raises(ConfigError, match="batch must be a multiple of the 8 devices, got 4: or give --devices 1"):
        device_count(config(devices=None, batch=4))


def test_too_little_disk_space_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_disk_space(tmp_path / "deep" / "out", config())
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(StorageError, match="needs .* MB for snapshots, but the disk has 0 MB free"):
        require_disk_space(tmp_path / "deep" / "out", config())
