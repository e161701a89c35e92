"""The default number of workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.runtime.cores import default_workers, usable_cores


def test_the_quota_of_a_container_limits_the_cores(tmp_path: Path) -> None:
    quota, affinity = tmp_path / "cpu.max", usable_cores(tmp_path / "missing")
    for text, expected in (
        ("max 100000\n", affinity),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),  # half a core
        ("99999900000 100000\n", affinity),
    ):
        quota.write_text(text)
        assert usable_cores(quota) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_the_affinity_of_the_process_limits_the_cores(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores(tmp_path / "missing") == 1
        assert default_workers() == 1
    finally:
        os.sched_setaffinity(0, allowed)
